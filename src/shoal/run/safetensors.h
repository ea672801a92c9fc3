// The safetensors format: named tensors in one file that PyTorch opens as it is.
//
// Layout: 8 bytes little-endian N; N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]},
// ..., "__metadata__": {text: text}}; the tensors' bytes, without gaps or overlaps, in the order of their
// offsets. Source: the format's own description (huggingface/safetensors, README). We write F32 only, with
// the data aligned to 8 bytes, and read F32 only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "shoal/base/bytes.h"
#include "shoal/base/hash.h"
#include "shoal/run/atomic_file.h"

namespace shoal::run {

/// A tensor to be written: a view of its values.
struct TensorView {
    std::string name;
    std::vector<std::int64_t> shape;  ///< row-major; the product is values.size()
    std::span<const float> values;
};

struct Tensor {
    std::string name;
    std::vector<std::int64_t> shape;
    std::vector<float> values;
};

struct TensorFile {
    std::vector<Tensor> tensors;  ///< in the order of the file
    std::map<std::string, std::string> metadata;

    /// Nothing if there is none of that name.
    const Tensor* find(std::string_view name) const;
};

/// Writes the file so that at every moment either the old one is there or the new one, whole: into a
/// temporary file beside it, flushed to the disk, then renamed. Throws Error(system) naming the file (disk
/// full, no permission), Error(invalid_argument) for a shape that does not fit or a name that occurs twice.
/// @return  SHA-256 of the file.
Digest write_safetensors(const std::filesystem::path& file, std::span<const TensorView> tensors,
                         const std::map<std::string, std::string>& metadata);
/// The same into a file that the caller commits.
Digest write_safetensors(AtomicFile& out, std::span<const TensorView> tensors,
                         const std::map<std::string, std::string>& metadata);

/// Throws Error(bad_input) if the file cannot be opened, Error(corrupted) naming file and cause if it is not
/// exactly a safetensors file of F32 tensors.
/// @param expected  SHA-256 that the file must have; nullptr does not check.
TensorFile read_safetensors(const std::filesystem::path& file, const Digest* expected = nullptr);

/// The same from memory. @param name  stands for the file in messages.
TensorFile parse_safetensors(ByteView bytes, const std::string& name);

}  // namespace shoal::run
