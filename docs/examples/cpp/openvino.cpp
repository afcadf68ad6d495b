// A packed bundle's INT8 model through OpenVINO's C++ interface: prints score and verdict of each picture.
//
//   score_openvino BUNDLE IMAGE.ppm...
//
// IMAGE.ppm: a binary PPM (P6) that has the size of the model's input. docs/how-to/integrate-in-cpp.md says how a photo
// becomes one. This example does not verify the bundle: run `python -m edge check BUNDLE` first.

#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <openvino/openvino.hpp>
#include <regex>
#include <stdexcept>
#include <string>

#include "ppm.h"

// The threshold of manifest.json. A program that ships takes a JSON library.
static double threshold_of(const std::string& bundle) {
    std::ifstream stream(bundle + "/manifest.json");
    const std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    // Format 3 locates by boxes: each has the limit of its type, and the graph's score is compared with none of them.
    if (!std::regex_search(text, std::regex("^\\{\\s*\"format\"\\s*:\\s*[12]\\b")))
        throw std::runtime_error(bundle + ": is no bundle of format 1 or 2; judge boxes through the station's engine");
    const std::regex pattern("\"threshold\"\\s*:\\s*\\{\\s*\"value\"\\s*:\\s*([0-9.eE+-]+)");
    std::smatch found;
    if (!std::regex_search(text, found, pattern)) throw std::runtime_error(bundle + ": manifest.json has no threshold");
    return std::stod(found[1]);
}

int main(int argc, char** argv) try {
    if (argc < 3) {
        std::cerr << "usage: score_openvino BUNDLE IMAGE.ppm...\n";
        return 2;
    }
    const std::string bundle = argv[1];
    const double threshold = threshold_of(bundle);
    ov::Core core;
    // The station's own settings. f32: an AMX machine would otherwise run what is not INT8 in bf16.
    auto model = core.compile_model(bundle + "/model_int8.xml", "CPU",
                                    ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                                    ov::hint::inference_precision(ov::element::f32), ov::num_streams(1));
    auto request = model.create_infer_request();
    const ov::Shape shape = model.input("image").get_shape();  // (1, height, width, 3) bytes, RGB
    for (int index = 2; index < argc; ++index) {
        const Picture picture = read_ppm(argv[index]);
        if (shape[1] != static_cast<size_t>(picture.height) || shape[2] != static_cast<size_t>(picture.width))
            throw std::runtime_error(std::string(argv[index]) + ": has another size than the model's input");
        ov::Tensor image = request.get_tensor("image");
        std::memcpy(image.data<uint8_t>(), picture.rgb.data(), picture.rgb.size());
        request.infer();
        const float score = request.get_tensor("score").data<float>()[0];
        // Written so that a score that is not a number is never OK.
        std::printf("%s %.9g %s\n", argv[index], score, score < threshold ? "OK" : "NG");
    }
    return 0;
} catch (const std::exception& error) {
    std::cerr << "score_openvino: " << error.what() << "\n";
    return 1;
}
