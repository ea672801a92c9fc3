// Run files and overrides: any text is read or refused with a message, and what is read is written back
// alike.
#include <cstdlib>
#include <string>

#include "shoal/base/error.h"
#include "shoal/run/schema.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal::run;
    const std::string text(reinterpret_cast<const char*>(data), size);
    try {
        const RunDefinition definition = parse_definition(text, "input.toml", {}, Purpose::meeting);
        std::string again;
        for (const SectionInfo& section : sections()) {
            again += "[" + section.name + "]\n";
            for (const Field& field : fields())
                if (field.section == section.name && field.check(field.get(definition)).empty())
                    again += field.key + " = " + to_toml(field.get(definition)) + "\n";
        }
        const RunDefinition second = parse_definition(again, "", {}, Purpose::meeting);
        for (const Field& field : fields())
            if (field.get(definition) != field.get(second)) std::abort();
    } catch (const shoal::Error& error) {
        if (error.kind() != shoal::ErrorKind::bad_input) std::abort();
        if (std::string(error.what()).find("input.toml") == std::string::npos) std::abort();
    }
    try {
        const auto one = parse_override(text);
        (void)definition_from({one}, Purpose::meeting);
    } catch (const shoal::Error& error) {
        if (error.kind() != shoal::ErrorKind::invalid_argument) std::abort();
    }
    return 0;
}
