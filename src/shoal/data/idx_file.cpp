#include "shoal/data/idx_file.h"

#include <algorithm>
#include <memory>
#include <string>
#include <zlib.h>

#include "shoal/base/error.h"

namespace shoal::data {
namespace {

struct CloseGzip {
    void operator()(gzFile_s* file) const { gzclose(file); }
};

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& why) {
    throw Error(ErrorKind::bad_input,
                "image file " + file.string() + " " + why + "; install or download it again");
}

/// Reads exactly that many bytes. zlib reads files that are not compressed as well.
void read_exactly(gzFile_s* source, MutableByteView target, const std::filesystem::path& file) {
    while (!target.empty()) {
        const auto portion =
            static_cast<unsigned>(std::min<std::size_t>(target.size(), std::size_t{1} << 24));
        const int got = gzread(source, target.data(), portion);
        if (got <= 0) fail(file, got == 0 ? "ends too early" : "is damaged");
        target = target.subspan(static_cast<std::size_t>(got));
    }
}

}  // namespace

IdxArray read_idx(const std::filesystem::path& folder, const std::string& name, std::size_t dimensions) {
    std::filesystem::path file = folder / (name + ".gz");
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) file = folder / name;
    if (!std::filesystem::is_regular_file(file, ignored)) {
        throw Error(ErrorKind::bad_input, "image file " + file.string() +
                                              " (or the same with .gz) does not exist; for Fashion-MNIST "
                                              "install Debian's package dataset-fashion-mnist");
    }
    const std::unique_ptr<gzFile_s, CloseGzip> source(gzopen(file.c_str(), "rb"));
    if (!source) fail(file, "cannot be opened");

    std::vector<std::uint8_t> header(4 + 4 * dimensions);
    read_exactly(source.get(), header, file);
    if (header[0] != 0 || header[1] != 0 || header[2] != 8 || header[3] != dimensions) {
        fail(file, "is no IDX file of bytes in " + std::to_string(dimensions) + " dimensions");
    }
    IdxArray array;
    std::uint64_t total = 1;
    for (std::size_t d = 0; d < dimensions; ++d) {
        const std::uint8_t* at = header.data() + 4 + 4 * d;
        const std::uint64_t size =
            std::uint64_t{at[0]} << 24 | std::uint64_t{at[1]} << 16 | std::uint64_t{at[2]} << 8 | at[3];
        // Checked at every factor, so that the product cannot overflow.
        if (size == 0 || total > (std::uint64_t{1} << 32) / size) fail(file, "claims an impossible size");
        total *= size;
        array.sizes.push_back(size);
    }
    // Grown as bytes arrive: a header that lies about the size costs no memory.
    while (array.values.size() < total) {
        const std::size_t start = array.values.size();
        array.values.resize(std::min<std::uint64_t>(total, start + (std::uint64_t{1} << 24)));
        read_exactly(source.get(), MutableByteView(array.values).subspan(start), file);
    }
    std::uint8_t extra = 0;
    const int after = gzread(source.get(), &extra, 1);
    if (after > 0) fail(file, "is longer than its header says");
    if (after < 0) fail(file, "is damaged");
    return array;
}

}  // namespace shoal::data
