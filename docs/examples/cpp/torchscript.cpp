// model.torchscript of `python -m train export --torchscript`, without Python: prints the score of each picture.
//
//   score_torchscript model.torchscript IMAGE.ppm...
//
// IMAGE.ppm: a binary PPM (P6) that has the size of the model's input. docs/how-to/integrate-in-cpp.md says how a photo
// becomes one.

#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstdio>
#include <exception>
#include <iostream>

#include "ppm.h"

int main(int argc, char** argv) try {
    if (argc < 3) {
        std::cerr << "usage: score_torchscript model.torchscript IMAGE.ppm...\n";
        return 2;
    }
    c10::InferenceMode guard;
    torch::jit::Module model = torch::jit::load(argv[1]);
    model.eval();
    for (int index = 2; index < argc; ++index) {
        Picture picture = read_ppm(argv[index]);
        // (height, width, 3) bytes -> (1, 3, height, width) float 0..255: the model normalises by itself.
        at::Tensor bytes = at::from_blob(picture.rgb.data(), {1, picture.height, picture.width, 3}, at::kByte);
        at::Tensor image = bytes.permute({0, 3, 1, 2}).to(at::kFloat).contiguous();
        auto outputs = model.forward({image}).toTuple()->elements();  // score (1,), anomaly_map (1, 1, h, w)
        std::printf("%s %.9g\n", argv[index], outputs[0].toTensor().item<double>());
    }
    return 0;
} catch (const std::exception& error) {
    std::cerr << "score_torchscript: " << error.what() << "\n";
    return 1;
}
