// Binary PPM (P6, 8 bits, no comments) into memory: the one picture format that needs no library.

#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Picture {
    int width = 0;
    int height = 0;
    std::vector<uint8_t> rgb;  // height * width * 3
};

inline Picture read_ppm(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    std::string magic;
    int depth = 0;
    Picture picture;
    stream >> magic >> picture.width >> picture.height >> depth;
    if (!stream || magic != "P6" || depth != 255 || picture.width < 1 || picture.height < 1 ||
        picture.width > 16384 || picture.height > 16384)
        throw std::runtime_error(path + ": is no binary PPM of 8 bits (P6)");
    stream.get();  // the one white space before the pixels
    picture.rgb.resize(static_cast<size_t>(picture.width) * picture.height * 3);
    stream.read(reinterpret_cast<char*>(picture.rgb.data()), static_cast<std::streamsize>(picture.rgb.size()));
    if (static_cast<size_t>(stream.gcount()) != picture.rgb.size()) throw std::runtime_error(path + ": is cut short");
    return picture;
}
