#include "shoal/run/definition.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <sstream>

#include "shoal/base/error.h"
#include "shoal/base/hash.h"
#include "shoal/run/loader.h"
#include "shoal/run/schema.h"

namespace shoal::run {
namespace {

std::string read_text(const std::filesystem::path& file) {
    std::error_code error;
    if (std::filesystem::is_directory(file, error))
        throw Error(ErrorKind::bad_input, file.string() + " is a folder, not a run file");
    std::ifstream in(file, std::ios::binary);
    if (!in)
        throw Error(ErrorKind::bad_input,
                    fmt::format("cannot read the run file {}: {}. `shoal init` writes one to start from",
                                file.string(), std::strerror(errno)));
    std::ostringstream text;
    text << in.rdbuf();
    return std::move(text).str();
}

std::string file_sha256(const std::filesystem::path& file, std::string_view what) {
    std::ifstream in(file, std::ios::binary);
    if (!in || std::filesystem::is_directory(file))
        throw Error(ErrorKind::bad_input,
                    fmt::format("cannot read the {} {}: {}", what, file.string(), std::strerror(errno)));
    Sha256 hash;
    std::vector<char> buffer(1 << 20);
    while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), in.gcount() > 0)
        hash.update(as_bytes(std::string_view(buffer.data(), static_cast<std::size_t>(in.gcount()))));
    return hash.finish().hex();
}

/// The hash of a file that all peers must have alike: from the file, from the run file, or both, which must
/// then agree.
std::string shared_hash(const std::filesystem::path& file, const std::string& stated, std::string_view what,
                        std::string_view key) {
    if (!stated.empty() && (file.empty() || !std::filesystem::exists(file))) return stated;
    if (file.empty())
        throw Error(ErrorKind::bad_input,
                    fmt::format("the run needs a {}: give its file, or its SHA-256 as {}", what, key));
    const std::string found = file_sha256(file, what);
    if (!stated.empty() && stated != found)
        throw Error(ErrorKind::bad_input,
                    fmt::format("the {} {} is not the one of this run: its SHA-256 is {}, {} says {}", what,
                                file.string(), found, key, stated));
    return found;
}

}  // namespace

std::filesystem::path RunDefinition::peer_folder() const {
    if (!peer.folder.empty()) return peer.folder;
    return "shoal-" + (run.name.empty() ? std::string("peer") : run.name);
}

std::filesystem::path RunDefinition::checkpoint_folder() const {
    return checkpoints.folder.empty() ? peer_folder() / "checkpoints" : checkpoints.folder;
}

std::filesystem::path RunDefinition::key_file() const {
    return peer.key_file.empty() ? peer_folder() / "key.pem" : peer.key_file;
}

Override parse_override(const std::string& text) {
    const std::size_t equals = text.find('=');
    const std::size_t dot = text.find('.');
    if (equals == std::string::npos || dot == std::string::npos || dot > equals || dot == 0 ||
        dot + 1 == equals)
        throw Error(ErrorKind::invalid_argument,
                    "--set " + text + ": must have the form section.key=value, as in run.steps=100");
    Override result;
    result.key = text.substr(0, equals);
    result.value = text.substr(equals + 1);
    result.origin = "--set " + text;
    return result;
}

RunDefinition load_definition(const std::filesystem::path& file, const std::vector<Override>& overrides,
                              Purpose purpose) {
    return parse_definition(read_text(file), file, overrides, purpose);
}

RunDefinition parse_definition(std::string_view toml, const std::filesystem::path& name,
                               const std::vector<Override>& overrides, Purpose purpose) {
    Loader loader(name.string());
    loader.read_file(toml, name.parent_path());
    loader.apply(overrides);
    return loader.finish(purpose);
}

RunDefinition definition_from(const std::vector<Override>& overrides, Purpose purpose) {
    Loader loader("");
    loader.apply(overrides);
    return loader.finish(purpose);
}

net::AgreedSettings agreed_settings(const RunDefinition& definition) {
    net::AgreedSettings agreed;
    for (const Field& field : fields()) {
        if (!field.shared || !field.is_for(definition.model.kind)) continue;
        std::string value = to_toml(field.get(definition));
        if (field.name() == "schedule.total_steps") value = std::to_string(definition.schedule_steps());
        agreed.emplace_back(field.name(), std::move(value));
    }
    if (definition.data.kind == "text") {
        agreed.emplace_back("data.vocabulary_sha256",
                            shared_hash(definition.data.vocabulary, definition.data.vocabulary_sha256,
                                        "vocabulary", "data.vocabulary_sha256"));
    }
    if (definition.model.kind == "torchscript") {
        agreed.emplace_back("model.file_sha256",
                            shared_hash(definition.model.file, definition.model.file_sha256,
                                        "TorchScript model", "model.file_sha256"));
    }
    return agreed;
}

std::string definition_template() {
    // What a run chooses for itself, with values that learn: those of examples/albert.toml.
    const std::map<std::string, std::string> starts = {{"run.name", "name = \"my-run\""},
                                                       {"schedule.learning_rate", "learning_rate = 0.05"},
                                                       {"schedule.warmup_steps", "warmup_steps = 20"}};
    const RunDefinition defaults;
    std::ostringstream out;
    out << "# A run of Shoal: what all its peers share, and what is this peer's own. Every key is shown "
           "with\n"
           "# its default; what stands behind '#' may be left out. A peer whose shared settings differ is\n"
           "# refused by the others, with the name of the setting. Flags override this file:\n"
           "# --set section.key=value.\n";
    for (const SectionInfo& section : sections()) {
        out << "\n# " << section.meaning << "\n[" << section.name << "]\n";
        for (const Field& field : fields()) {
            if (field.section != section.name) continue;
            std::string line = field.key + " = " + to_toml(field.get(defaults));
            if (const auto start = starts.find(field.name()); start != starts.end())
                line = start->second;
            else
                line.insert(0, "# ");
            out << fmt::format("{:<44} # {}\n", line, field.meaning);
        }
    }
    return std::move(out).str();
}

}  // namespace shoal::run
