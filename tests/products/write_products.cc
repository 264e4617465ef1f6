// write_products FOLDER: for each format FORMAT.w (blocks), x and FORMAT.y (our
// product; FORMAT.packed.y with packed weights), which record_products.py puts
// beside llama.cpp's.
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/products/problem.h"

namespace {

void Write(const std::string& path, const void* data, size_t bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data),
             static_cast<std::streamsize>(bytes));
  file.close();
  if (!file) std::fprintf(stderr, "cannot write %s\n", path.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_products FOLDER\n");
    return 2;
  }
  for (const intarsia::Format* format : intarsia::AllFormats()) {
    const intarsia::ProductProblem problem(*format);
    const std::string path = std::string(argv[1]) + "/";
    const std::string name = path + std::string(format->name());
    const std::vector<float> y = problem.Product();
    Write(path + "x", problem.x.raw(), problem.x.nbytes());
    Write(name + ".w", problem.w.raw(), problem.w.nbytes());
    Write(name + ".y", y.data(), y.size() * sizeof(float));
    if (problem.packs()) {
      const std::vector<float> packed = problem.PackedProduct();
      Write(name + ".packed.y", packed.data(), packed.size() * sizeof(float));
    }
    std::printf("%s %.3e\n", std::string(format->name()).c_str(),
                problem.RelativeError(y));
  }
}
