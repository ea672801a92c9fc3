#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <unistd.h>

#include "shoal/base/error.h"
#include "shoal/run/doctor.h"
#include "shoal/run/folder.h"

namespace shoal::run {
namespace {

using enum Finding::Level;

/// Where Debian's package puts Fashion-MNIST; the room data knows it, but stands below.
constexpr const char* kFashionMnist = "/usr/share/datasets/fashion-mnist";

Finding judge_file(const std::string& subject, const std::filesystem::path& file) {
    std::error_code error;
    if (!std::filesystem::exists(file, error))
        return make_finding(wrong, subject, file.string() + " does not exist",
                            "give its path in the run file; relative paths start at the run file's folder");
    if (std::filesystem::is_directory(file, error))
        return make_finding(wrong, subject, file.string() + " is a folder, not a file",
                            "name the file itself");
    if (!std::ifstream(file))
        return make_finding(wrong, subject, file.string() + " cannot be read", "check its permissions");
    if (std::filesystem::file_size(file, error) == 0)
        return make_finding(wrong, subject, file.string() + " is empty", "was it copied completely?");
    return make_finding(fine, subject, file.string());
}

/// A folder of IDX files, each plain or compressed.
Finding judge_images(const std::filesystem::path& folder, bool of_package) {
    const std::string advice = of_package ? "apt install dataset-fashion-mnist, or give data.path"
                                          : "data.path must name the folder of the four IDX files";
    std::string missing;
    for (const char* name : {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                             "t10k-labels-idx1-ubyte"}) {
        std::error_code error;
        const bool there = std::filesystem::exists(folder / name, error) ||
                           std::filesystem::exists(folder / (std::string(name) + ".gz"), error);
        if (!there) missing += (missing.empty() ? "" : ", ") + std::string(name);
    }
    if (missing.empty()) return make_finding(fine, "data", folder.string());
    return make_finding(wrong, "data", fmt::format("{} lacks {}", folder.string(), missing), advice);
}

Finding judge_image_folder(const std::filesystem::path& folder) {
    std::error_code error;
    if (std::filesystem::is_directory(folder, error)) return make_finding(fine, "data", folder.string());
    return make_finding(wrong, "data", folder.string() + " does not exist or is no folder",
                        "data.path must name a folder of images");
}

/// TorchScript files are zip archives; whether one loads is libtorch's to say.
Finding judge_script(const std::filesystem::path& file) {
    Finding finding = judge_file("model", file);
    if (finding.level != fine) return finding;
    std::array<char, 4> start{};
    std::ifstream(file, std::ios::binary).read(start.data(), start.size());
    if (std::string_view(start.data(), start.size()) == std::string_view("PK\x03\x04", 4)) return finding;
    return make_finding(wrong, "model", file.string() + " is no TorchScript file",
                        "export it with torch.jit.script(model).save(...)");
}

std::string cause() {
    return std::strerror(errno);
}

}  // namespace

Examined examine_run_file(const std::filesystem::path& file, const std::vector<Override>& overrides) {
    Examined result;
    if (file.empty()) {
        result.definition = definition_from(overrides, Purpose::meeting);
        result.findings.push_back(make_finding(note, "run file",
                                               "none was given: looking at the machine alone",
                                               "name it to have it examined, too: shoal doctor run.toml"));
        return result;
    }
    try {
        result.definition = load_definition(file, overrides, Purpose::training);
        result.findings.push_back(make_finding(fine, "run file", file.string()));
        return result;
    } catch (const DefinitionError& error) {
        for (const std::string& problem : error.problems())
            result.findings.push_back(
                make_finding(wrong, "run file", problem, "mend it; `shoal init` explains every key"));
    } catch (const Error& error) {
        result.findings.push_back(
            make_finding(wrong, "run file", error.what(), "check its path and permissions"));
    }
    try {
        result.definition = load_definition(file, overrides, Purpose::meeting);
    } catch (const Error&) {
        // Its problems have been told; the machine is looked at all the same.
    }
    return result;
}

std::vector<Finding> judge_files(const RunDefinition& definition) {
    std::vector<Finding> findings;
    const auto& data = definition.data;
    const bool packaged = data.kind == "fashion-mnist" && data.path.empty();
    if (data.kind == "image-folder" && !data.path.empty())
        findings.push_back(judge_image_folder(data.path));
    else if (packaged || (data.kind != "text" && data.kind != "tokens" && !data.path.empty()))
        findings.push_back(judge_images(packaged ? kFashionMnist : data.path, packaged));
    else if (!data.path.empty())
        findings.push_back(judge_file("data", data.path));
    if (data.kind == "text" && !data.vocabulary.empty())
        findings.push_back(judge_file("vocabulary", data.vocabulary));
    if (definition.model.kind == "torchscript" && !definition.model.file.empty())
        findings.push_back(judge_script(definition.model.file));
    return findings;
}

Finding judge_folder(const std::filesystem::path& folder) {
    std::filesystem::path there = std::filesystem::absolute(folder);
    std::error_code error;
    while (!std::filesystem::exists(there, error) && there != there.root_path()) there = there.parent_path();
    const std::string advice = "give another --folder, or change its permissions";
    if (!std::filesystem::is_directory(there, error))
        return make_finding(wrong, "folder", there.string() + " is no folder", advice);
    if (::access(there.c_str(), W_OK | X_OK) != 0)
        return make_finding(wrong, "folder", fmt::format("{} cannot be written: {}", there.string(), cause()),
                            advice);
    if (!std::filesystem::exists(folder / "lock", error))
        return make_finding(
            fine, "folder",
            folder.string() + (there.filename() == folder.filename() ? "" : " (will be made)"));
    try {
        const PeerFolder lock(folder);
    } catch (const Error& taken) {
        return make_finding(wrong, "folder", taken.what(),
                            "stop the peer that uses it, or give another --folder");
    }
    return make_finding(fine, "folder", folder.string());
}

}  // namespace shoal::run
