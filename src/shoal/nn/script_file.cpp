#include "shoal/nn/script_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "shoal/base/error.h"

namespace shoal::nn {

ScriptFile load_script_file(const std::string& file, const std::string& what) {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(file, ignored))
        throw Error(ErrorKind::bad_input, what + " " + file + " does not exist or is not a file");
    std::ifstream input(file, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(input)), std::istreambuf_iterator<char>());
    try {
        return {torch::jit::load(file, at::kCPU), sha256(as_bytes(std::string_view(bytes)))};
    } catch (const std::exception&) {
        throw Error(ErrorKind::bad_input,
                    what + " " + file +
                        " is damaged or no TorchScript file (a state_dict or torch.save file is none); "
                        "export it with torch.jit.script(module).save(...)");
    }
}

std::string last_line(std::string_view text) {
    std::string found;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        if (line.find_first_not_of(" ~^<>-.") != std::string_view::npos) found = line;
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return found;
}

}  // namespace shoal::nn
