// The table of all keys of a run file: type, range, meaning, how to read and write them in a RunDefinition.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "shoal/run/definition.h"

namespace shoal::run {

using Value =
    std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>, std::vector<double>>;

enum class FieldType { flag, integer, number, text, path, texts, numbers };

/// "a whole number", "true or false": for messages.
std::string_view to_string(FieldType type);

struct Field {
    std::string section;
    std::string key;
    FieldType type = FieldType::text;
    std::string meaning;                   ///< one line for the template and the help
    bool shared = false;                   ///< peers compare it in their handshake
    std::string flag;                      ///< a flag of its own beside --set, e.g. "--name"; or empty
    std::vector<std::string> model_kinds;  ///< to which the key means something; empty: to all
    std::function<Value(const RunDefinition&)> get;
    /// The value has the alternative that belongs to `type`.
    std::function<void(RunDefinition&, Value)> set;
    /// What is wrong with a value: "must be at least 1"; empty if nothing.
    std::function<std::string(const Value&)> check;

    std::string name() const { return section + "." + key; }
    /// Whether the key means something to models of this kind.
    bool is_for(const std::string& model_kind) const;
};

/// All fields, in the order of the template. Immutable after the first call.
const std::vector<Field>& fields();

/// Nothing if there is no such field.
const Field* find_field(std::string_view section, std::string_view key);

/// The sections in order, each with one line on what it is about.
struct SectionInfo {
    std::string name, meaning;
};
const std::vector<SectionInfo>& sections();

/// A value as it stands in a run file; the same text for the same value on every machine.
std::string to_toml(const Value& value);

/// The candidate that a typing mistake away from `word` (at most a third of its letters, Damerau-Levenshtein
/// without transposition across edits), or nothing.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace shoal::run
