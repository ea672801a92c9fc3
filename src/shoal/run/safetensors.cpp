#include "shoal/run/safetensors.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "shoal/base/error.h"
#include "shoal/run/atomic_file.h"

namespace shoal::run {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little,
              "safetensors are little-endian, and copied as they are");

/// As in the reference implementation: a header beyond it is an attack or a damaged length.
constexpr std::size_t kMaximumHeaderBytes = 100'000'000;
constexpr std::size_t kLengthBytes = 8;
constexpr const char* kMetadata = "__metadata__";

/// The product of a shape, or nothing if it is negative somewhere or too large for memory.
std::optional<std::size_t> elements_of(const std::vector<std::int64_t>& shape) {
    std::size_t elements = 1;
    for (const std::int64_t size : shape) {
        if (size < 0) return std::nullopt;
        const auto factor = static_cast<std::size_t>(size);
        if (factor != 0 && elements > std::numeric_limits<std::size_t>::max() / sizeof(float) / factor)
            return std::nullopt;
        elements *= factor;
    }
    return elements;
}

std::string header_of(std::span<const TensorView> tensors,
                      const std::map<std::string, std::string>& metadata) {
    json header = json::object();
    if (!metadata.empty()) header[kMetadata] = metadata;
    std::size_t offset = 0;
    for (const TensorView& tensor : tensors) {
        if (tensor.name == kMetadata || header.contains(tensor.name))
            throw Error(ErrorKind::invalid_argument, "the tensor name " + tensor.name + " occurs twice");
        if (elements_of(tensor.shape) != tensor.values.size())
            throw Error(ErrorKind::invalid_argument, fmt::format("the shape of {} does not hold {} values",
                                                                 tensor.name, tensor.values.size()));
        const std::size_t end = offset + tensor.values.size_bytes();
        json& entry = header[tensor.name];
        entry["dtype"] = "F32";
        entry["shape"] = tensor.shape;
        entry["data_offsets"] = std::vector<std::size_t>{offset, end};
        offset = end;
    }
    std::string text;
    try {
        text = header.dump();
    } catch (const json::exception&) {
        throw Error(ErrorKind::invalid_argument, "a tensor name or metadata is not UTF-8");
    }
    text.resize((text.size() + 7) / 8 * 8, ' ');  // aligns the data
    return text;
}

/// Parses one file; every refusal names it.
class Parser {
  public:
    Parser(ByteView bytes, const std::string& name) : bytes_(bytes), name_(name) {}

    TensorFile parse() {
        if (bytes_.size() < kLengthBytes) refuse("it ends before its header");
        std::uint64_t header_bytes = 0;
        std::memcpy(&header_bytes, bytes_.data(), kLengthBytes);
        if (header_bytes > kMaximumHeaderBytes || header_bytes > bytes_.size() - kLengthBytes)
            refuse("its header does not fit into it");
        data_ = bytes_.subspan(kLengthBytes + header_bytes);
        const std::string_view text = as_text(bytes_.subspan(kLengthBytes, header_bytes));
        if (text.empty() || text.front() != '{') refuse("its header is no JSON object");
        const json header = parse_header(text);
        TensorFile file;
        if (header.contains(kMetadata)) read_metadata(header[kMetadata], file.metadata);
        std::vector<Entry> entries;
        for (const auto& [name, entry] : header.items())
            if (name != kMetadata) entries.push_back(read_entry(name, entry));
        check_layout(entries);
        for (Entry& entry : entries) file.tensors.push_back(read_values(std::move(entry)));
        return file;
    }

  private:
    struct Entry {
        std::string name;
        std::vector<std::int64_t> shape;
        std::size_t begin = 0, end = 0;
    };

    [[noreturn]] void refuse(const std::string& cause) const {
        throw Error(ErrorKind::corrupted,
                    fmt::format("{} is damaged, or no safetensors file: {}", name_, cause));
    }

    /// nlohmann keeps the last of two equal keys and recurses for each bracket; the format allows neither two
    /// tensors of a name nor a depth beyond 3.
    json parse_header(std::string_view text) const {
        std::set<std::string> names;
        bool twice = false;
        const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
            if (depth > 4) refuse("its header is nested too deeply");
            if (event == json::parse_event_t::key && depth == 1)
                twice = twice || !names.insert(parsed.get<std::string>()).second;
            return true;
        };
        json header;
        try {
            header = json::parse(text.begin(), text.end(), watch);
        } catch (const json::exception&) {
            refuse("its header is no JSON");
        }
        if (twice) refuse("a tensor name occurs twice");
        if (!header.is_object()) refuse("its header is no JSON object");
        return header;
    }

    void read_metadata(const json& entry, std::map<std::string, std::string>& metadata) const {
        if (!entry.is_object()) refuse("its metadata is no JSON object");
        for (const auto& [key, value] : entry.items()) {
            if (!value.is_string()) refuse("its metadata '" + key + "' is no text");
            metadata[key] = value.get<std::string>();
        }
    }

    Entry read_entry(const std::string& name, const json& entry) const {
        if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") ||
            !entry.contains("data_offsets"))
            refuse("tensor '" + name + "' must have dtype, shape and data_offsets");
        if (entry["dtype"] != "F32") refuse("tensor '" + name + "' is not of dtype F32");
        Entry result;
        result.name = name;
        const json& shape = entry["shape"];
        if (!shape.is_array() || shape.size() > 64) refuse("the shape of tensor '" + name + "' is no list");
        for (const json& size : shape) {
            if (!size.is_number_unsigned() || size.get<std::uint64_t>() > std::uint64_t{1} << 48)
                refuse("the shape of tensor '" + name + "' is impossible");
            result.shape.push_back(size.get<std::int64_t>());
        }
        const json& offsets = entry["data_offsets"];
        if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
            !offsets[1].is_number_unsigned())
            refuse("the offsets of tensor '" + name + "' are not two numbers");
        result.begin = offsets[0].get<std::size_t>();
        result.end = offsets[1].get<std::size_t>();
        if (result.begin > result.end || result.end > data_.size())
            refuse("tensor '" + name + "' reaches beyond the end");
        const auto elements = elements_of(result.shape);
        if (!elements || *elements * sizeof(float) != result.end - result.begin)
            refuse("the shape of tensor '" + name + "' does not fit its bytes");
        return result;
    }

    /// Sorts by offset, and refuses gaps, overlaps, and bytes that no tensor owns.
    void check_layout(std::vector<Entry>& entries) const {
        std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
            return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
        });
        std::size_t end = 0;
        for (const Entry& entry : entries) {
            if (entry.begin != end) refuse("tensor '" + entry.name + "' overlaps another, or leaves a gap");
            end = entry.end;
        }
        if (end != data_.size()) refuse("it has bytes beyond its last tensor");
    }

    Tensor read_values(Entry entry) const {
        Tensor tensor;
        tensor.name = std::move(entry.name);
        tensor.shape = std::move(entry.shape);
        tensor.values.resize((entry.end - entry.begin) / sizeof(float));
        if (!tensor.values.empty())
            std::memcpy(tensor.values.data(), data_.data() + entry.begin, entry.end - entry.begin);
        return tensor;
    }

    ByteView bytes_, data_;
    const std::string& name_;
};

}  // namespace

const Tensor* TensorFile::find(std::string_view name) const {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const Tensor& tensor) { return tensor.name == name; });
    return found == tensors.end() ? nullptr : &*found;
}

Digest write_safetensors(const std::filesystem::path& file, std::span<const TensorView> tensors,
                         const std::map<std::string, std::string>& metadata) {
    AtomicFile out(file);
    const Digest hash = write_safetensors(out, tensors, metadata);
    out.commit();
    return hash;
}

Digest write_safetensors(AtomicFile& out, std::span<const TensorView> tensors,
                         const std::map<std::string, std::string>& metadata) {
    const std::string header = header_of(tensors, metadata);
    const std::uint64_t length = header.size();
    Sha256 hash;
    const auto write = [&](ByteView bytes) {
        hash.update(bytes);
        out.write(bytes);
    };
    write(as_bytes(std::span<const std::uint64_t>(&length, 1)));
    write(as_bytes(header));
    for (const TensorView& tensor : tensors) write(as_bytes(tensor.values));
    return hash.finish();
}

TensorFile read_safetensors(const std::filesystem::path& file, const Digest* expected) {
    std::ifstream in(file, std::ios::binary | std::ios::ate);
    const std::streamoff size = in ? static_cast<std::streamoff>(in.tellg()) : -1;
    if (!in || size < 0 || std::filesystem::is_directory(file))
        throw Error(ErrorKind::bad_input,
                    fmt::format("cannot read {}: {}", file.string(), std::strerror(errno)));
    Bytes bytes(static_cast<std::size_t>(size));
    in.seekg(0);
    if (!in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size)))
        throw Error(ErrorKind::bad_input,
                    fmt::format("cannot read {}: {}", file.string(), std::strerror(errno)));
    if (expected && sha256(bytes) != *expected)
        throw Error(ErrorKind::corrupted,
                    file.string() + " is damaged: its SHA-256 is not the one noted when it was written");
    return parse_safetensors(bytes, file.string());
}

TensorFile parse_safetensors(ByteView bytes, const std::string& name) {
    return Parser(bytes, name).parse();
}

}  // namespace shoal::run
