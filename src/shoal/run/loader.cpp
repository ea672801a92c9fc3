#include "shoal/run/loader.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <optional>
#include <toml++/toml.h>

#include "shoal/base/error.h"

namespace shoal::run {
namespace {

std::vector<std::string> section_names() {
    std::vector<std::string> names;
    for (const SectionInfo& section : sections()) names.push_back(section.name);
    return names;
}

/// "(did you mean 'x'?)", or where a key of that name does belong, or nothing; begins with a space.
std::string advice(std::string_view section, std::string_view key) {
    std::vector<std::string> keys;
    std::string elsewhere;
    for (const Field& field : fields()) {
        if (field.section == section)
            keys.push_back(field.key);
        else if (field.key == key)
            elsewhere += (elsewhere.empty() ? "[" : " or [") + field.section + "]";
    }
    if (const std::string guess = nearest(key, keys); !guess.empty())
        return fmt::format(" (did you mean '{}'?)", guess);
    if (!elsewhere.empty()) return fmt::format(" (it belongs in {})", elsewhere);
    return {};
}

/// A TOML value as the type of a field, or nothing if it is of another type.
std::optional<Value> convert(const toml::node& node, FieldType type) {
    const auto list = [&](auto convert_one) -> std::optional<Value> {
        const toml::array* array = node.as_array();
        if (!array) return std::nullopt;
        decltype(convert_one) convert_element = convert_one;
        std::vector<typename decltype(convert_element(node))::value_type> items;
        for (const toml::node& element : *array) {
            auto item = convert_element(element);
            if (!item) return std::nullopt;
            items.push_back(std::move(*item));
        }
        return Value(std::move(items));
    };
    const auto number = [](const toml::node& one) -> std::optional<double> {
        if (one.is_integer()) return static_cast<double>(one.as_integer()->get());
        if (one.is_floating_point()) return one.as_floating_point()->get();
        return std::nullopt;
    };
    const auto text = [](const toml::node& one) -> std::optional<std::string> {
        if (one.is_string()) return one.as_string()->get();
        return std::nullopt;
    };
    switch (type) {
        case FieldType::flag:
            if (node.is_boolean()) return Value(node.as_boolean()->get());
            return std::nullopt;
        case FieldType::integer:
            if (node.is_integer()) return Value(std::int64_t{node.as_integer()->get()});
            return std::nullopt;
        case FieldType::number:
            if (const auto found = number(node)) return Value(*found);
            return std::nullopt;
        case FieldType::text:
        case FieldType::path:
            if (const auto found = text(node)) return Value(*found);
            return std::nullopt;
        case FieldType::texts:
            return list(text);
        case FieldType::numbers:
            return list(number);
    }
    return std::nullopt;
}

std::string_view kind_of(const toml::node& node) {
    if (node.is_table()) return "a section";
    if (node.is_array()) return "a list";
    if (node.is_string()) return "a text";
    if (node.is_integer()) return "a whole number";
    if (node.is_floating_point()) return "a number";
    if (node.is_boolean()) return node.as_boolean()->get() ? "true" : "false";
    return "a date or time";
}

std::vector<std::string> split_list(std::string_view text) {
    std::vector<std::string> parts;
    while (!text.empty()) {
        const std::size_t comma = std::min(text.find(','), text.size());
        std::string_view part = text.substr(0, comma);
        while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
        while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
        if (!part.empty()) parts.emplace_back(part);
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return parts;
}

/// "a", "a and b", "a, b and c".
std::string listed(const std::vector<std::string>& words) {
    std::string text = words.front();
    for (std::size_t i = 1; i < words.size(); ++i) text += (i + 1 < words.size() ? ", " : " and ") + words[i];
    return text;
}

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
    return number;
}

/// The text of a flag as the type of a field; lists are separated by commas.
std::optional<Value> convert_text(std::string_view text, FieldType type) {
    switch (type) {
        case FieldType::flag:
            if (text == "true") return Value(true);
            if (text == "false") return Value(false);
            return std::nullopt;
        case FieldType::integer:
            if (const auto number = parse_number<std::int64_t>(text)) return Value(*number);
            return std::nullopt;
        case FieldType::number:
            if (const auto number = parse_number<double>(text)) return Value(*number);
            return std::nullopt;
        case FieldType::text:
        case FieldType::path:
            return Value(std::string(text));
        case FieldType::texts:
            return Value(split_list(text));
        case FieldType::numbers: {
            std::vector<double> numbers;
            for (const std::string& part : split_list(text)) {
                const auto number = parse_number<double>(part);
                if (!number) return std::nullopt;
                numbers.push_back(*number);
            }
            return Value(std::move(numbers));
        }
    }
    return std::nullopt;
}

}  // namespace

/// Walks the parsed file. toml++'s types stay in here.
struct Loader::Reader {
    Loader& loader;
    const std::filesystem::path& folder;

    static Place place_of(const toml::source_region& region) {
        return {.line = static_cast<unsigned>(region.begin.line),
                .column = static_cast<unsigned>(region.begin.column),
                .origin = {}};
    }

    void read(const toml::table& root) {
        for (const auto& [key, node] : root) {
            const std::string name(key.str());
            const auto names = section_names();
            const bool known = std::find(names.begin(), names.end(), name) != names.end();
            if (name == "model" && node.is_string()) {
                read_model_shorthand(node, key);
            } else if (known && node.is_table()) {
                read_section(name, *node.as_table());
            } else if (known) {
                loader.problem(place_of(node.source()),
                               fmt::format("'{}' must be a section [{}], not {}", name, name, kind_of(node)));
            } else if (node.is_table()) {
                const std::string guess = nearest(name, names);
                loader.problem(place_of(key.source()),
                               fmt::format("unknown section [{}]{}", name,
                                           guess.empty() ? "" : " (did you mean [" + guess + "]?)"));
            } else {
                loader.problem(place_of(key.source()),
                               fmt::format("unknown key '{}' outside any section{}", name, advice("", name)));
            }
        }
    }

    /// model = "my_model.pt" stands for [model] kind = "torchscript", file = "my_model.pt".
    void read_model_shorthand(const toml::node& node, const toml::key& key) {
        loader.set(*find_field("model", "kind"), std::string("torchscript"), place_of(key.source()));
        read_field(*find_field("model", "file"), node);
    }

    void read_section(const std::string& section, const toml::table& table) {
        for (const auto& [key, node] : table) {
            const Field* field = find_field(section, key.str());
            if (field)
                read_field(*field, node);
            else
                loader.problem(place_of(key.source()), fmt::format("unknown key '{}' in [{}]{}", key.str(),
                                                                   section, advice(section, key.str())));
        }
    }

    void read_field(const Field& field, const toml::node& node) {
        auto value = convert(node, field.type);
        if (!value) {
            loader.problem(place_of(node.source()),
                           fmt::format("[{}] {} must be {}, not {}", field.section, field.key,
                                       to_string(field.type), kind_of(node)));
            return;
        }
        if (field.type == FieldType::path) {
            auto& text = std::get<std::string>(*value);
            if (!text.empty()) text = (folder / text).lexically_normal().string();
        }
        loader.set(field, std::move(*value), place_of(node.source()));
    }
};

void Loader::read_file(std::string_view text, const std::filesystem::path& folder) {
    try {
        const toml::table root = toml::parse(text, std::string_view(file_));
        Reader{*this, folder}.read(root);
    } catch (const toml::parse_error& error) {
        problem(Reader::place_of(error.source()), "this is not TOML: " + std::string(error.description()));
        throw_problems();
    }
}

void Loader::apply(const std::vector<Override>& overrides) {
    for (const Override& one : overrides) apply_one(one);
}

void Loader::apply_one(const Override& one) {
    Place place;
    place.origin = one.origin;
    const std::size_t dot = one.key.find('.');
    const std::string section = one.key.substr(0, dot);
    const std::string key = dot == std::string::npos ? std::string() : one.key.substr(dot + 1);
    const Field* field = find_field(section, key);
    if (!field) {
        const auto names = section_names();
        const bool known = std::find(names.begin(), names.end(), section) != names.end();
        const std::string guess = known ? std::string() : nearest(section, names);
        problem(place, known ? fmt::format("unknown key '{}' in [{}]{}", key, section, advice(section, key))
                             : fmt::format("unknown section [{}]{}", section,
                                           guess.empty() ? "" : " (did you mean [" + guess + "]?)"));
        return;
    }
    auto value = convert_text(one.value, field->type);
    if (!value) {
        problem(place,
                fmt::format("[{}] {} must be {}, not '{}'", section, key, to_string(field->type), one.value));
        return;
    }
    set(*field, std::move(*value), place);
}

void Loader::set(const Field& field, Value value, Place place) {
    const std::string wrong = field.check(value);
    if (!wrong.empty()) {
        problem(place, fmt::format("[{}] {} {}", field.section, field.key, wrong));
        return;
    }
    field.set(definition_, std::move(value));
    places_[field.name()] = std::move(place);
}

void Loader::problem(Place place, std::string text) {
    problems_.push_back({.place = std::move(place), .text = std::move(text)});
}

void Loader::problem_at(const std::string& name, std::string text) {
    const auto found = places_.find(name);
    problem(found == places_.end() ? Place() : found->second, std::move(text));
}

RunDefinition Loader::finish(Purpose purpose) {
    // What is missing or does not fit together is judged only when every single value is fine: a mistyped
    // key would otherwise be reported twice, the second time as missing.
    if (problems_.empty()) {
        check_presence(purpose);
        check_model_and_data(purpose);
        check_numbers(purpose);
    }
    if (!problems_.empty()) throw_problems();
    return std::move(definition_);
}

void Loader::check_presence(Purpose purpose) {
    if (purpose == Purpose::meeting) return;
    if (definition_.run.name.empty()) problem_at("run.name", "[run] name is missing: it names the swarm");
    if (definition_.network.client_mode && definition_.network.bootstrap.empty())
        problem_at("network.client_mode",
                   "[network] client_mode = true accepts no connection, so it needs [network] bootstrap");
    if (purpose == Purpose::averaging && definition_.network.client_mode)
        problem_at("network.client_mode",
                   "[network] client_mode = true does not go with an auxiliary peer: it adds for others, so "
                   "they must reach it");
}

void Loader::check_model_and_data(Purpose purpose) {
    if (purpose == Purpose::meeting) return;
    const ModelSection& model = definition_.model;
    const DataSection& data = definition_.data;
    const bool images = data.kind == "images" || data.kind == "fashion-mnist" || data.kind == "image-folder";
    const bool script = model.kind == "torchscript";
    if (model.kind == "albert" && data.kind != "text")
        problem_at("data.kind", "[data] kind must be text for [model] kind albert, not " + data.kind);
    const bool sees = model.kind == "convnet" || model.kind == "resnet" || model.kind == "swav";
    if (sees && !images)
        problem_at("data.kind",
                   fmt::format("[data] kind must be images, fashion-mnist or image-folder for [model] kind "
                               "{}, not {}",
                               model.kind, data.kind));
    if (model.kind == "convnet" && model.size != "tiny" && model.size != "small")
        problem_at("model.size", "[model] size must be tiny or small for kind convnet, not " + model.size);
    if (script && data.kind == "text")
        problem_at(
            "data.kind",
            "[data] kind must be tokens, images, fashion-mnist or image-folder for [model] kind torchscript, "
            "not text");
    if (!script && !model.file.empty())
        problem_at("model.file", fmt::format("[model] file is for kind torchscript, not {}", model.kind));
    if (script && model.file.empty() && (purpose == Purpose::training || model.file_sha256.empty()))
        problem_at("model.kind", "[model] file is missing: kind torchscript needs it");
    if (purpose == Purpose::training) {
        if (data.path.empty() && data.kind != "fashion-mnist")
            problem_at("data.kind", fmt::format("[data] path is missing: kind {} needs it", data.kind));
        if (data.kind == "text" && data.vocabulary.empty())
            problem_at("data.kind", "[data] vocabulary is missing: kind text needs a SentencePiece model");
    }
    // A view's normalisation and its assignment are those among the samples of a micro-batch.
    if (purpose == Purpose::training && model.kind == "swav" && data.micro_batch_size < 2)
        problem_at("data.micro_batch_size",
                   "[data] micro_batch_size must be at least 2 for [model] kind swav: its samples are "
                   "compared with each other");
    check_model_sizes();
}

void Loader::check_model_sizes() {
    const ModelSection& model = definition_.model;
    const RunDefinition defaults;
    for (const Field& field : fields()) {
        if (field.is_for(model.kind) || field.get(definition_) == field.get(defaults)) continue;
        problem_at(field.name(), fmt::format("[{}] {} is for kind {}, not {}", field.section, field.key,
                                             listed(field.model_kinds), model.kind));
    }
    if (model.kind != "albert") return;
    struct Size {
        std::int64_t hidden, heads;
    };
    const std::map<std::string, Size> sizes = {
        {"tiny", {128, 4}}, {"small", {256, 4}}, {"base", {768, 12}}, {"large", {1024, 16}}};
    const Size preset = sizes.at(model.size);
    const std::int64_t hidden = model.hidden_size > 0 ? model.hidden_size : preset.hidden;
    const std::int64_t heads = model.heads > 0 ? model.heads : preset.heads;
    if (hidden % heads != 0)
        problem_at(model.heads > 0 ? "model.heads" : "model.hidden_size",
                   fmt::format("[model] hidden_size {} cannot be divided among {} heads", hidden, heads));
}

void Loader::check_groups() {
    const AveragingSection& averaging = definition_.averaging;
    if (averaging.choose_roles && averaging.group_size > 0)
        problem_at("averaging.choose_roles", "[averaging] choose_roles does not go together with group_size");
    if (averaging.choose_roles && definition_.local_updates.batch_size > 0)
        problem_at("averaging.choose_roles",
                   "[averaging] choose_roles does not go together with [local_updates]");
    if (averaging.group_size == 0) return;
    const auto problem = [this](const std::string& what) {
        problem_at("averaging.group_size", "[averaging] group_size " + what);
    };
    if (averaging.group_size == 1) problem("1 would average nothing; 0 averages all together");
    if (3 * averaging.group_size > averaging.maximum_group)
        problem(
            "is more than a third of maximum_group: groups are drawn, some are larger than others, and "
            "all may be 1.7 times as large until the swarm falls into more");
    if (averaging.delayed) problem("does not go together with delayed = true");
    if (averaging.error_feedback == "on") problem("does not go together with error_feedback on");
    if (definition_.local_updates.batch_size > 0) problem("does not go together with [local_updates]");
    if (!averaging.small_codec.empty() && averaging.small_codec != "fp32")
        problem("needs small_codec fp32, or none: the parameters travel in it");
}

void Loader::check_numbers(Purpose purpose) {
    if (purpose == Purpose::meeting) return;
    const RunDefinition& d = definition_;
    if (purpose == Purpose::training && d.data.micro_batch_size > d.run.target_batch_size)
        problem_at("data.micro_batch_size",
                   fmt::format("[data] micro_batch_size {} is larger than [run] target_batch_size {}",
                               d.data.micro_batch_size, d.run.target_batch_size));
    if (d.schedule.warmup_steps > d.schedule_steps())
        problem_at("schedule.warmup_steps",
                   fmt::format("[schedule] warmup_steps {} is beyond the end of the schedule, step {}",
                               d.schedule.warmup_steps, d.schedule_steps()));
    if (d.schedule.final_learning_rate > d.schedule.learning_rate)
        problem_at("schedule.final_learning_rate",
                   fmt::format("[schedule] final_learning_rate {} is above learning_rate {}",
                               d.schedule.final_learning_rate, d.schedule.learning_rate));
    if (d.local_updates.batch_size > d.run.target_batch_size)
        problem_at(
            "local_updates.batch_size",
            fmt::format(
                "[local_updates] batch_size {} is larger than [run] target_batch_size {}: nobody would "
                "take a step of its own",
                d.local_updates.batch_size, d.run.target_batch_size));
    check_groups();
    if (d.local_updates.batch_size > 0 && d.averaging.delayed)
        problem_at("averaging.delayed",
                   "[averaging] delayed = true does not go together with [local_updates]: a peer cannot move "
                   "on from "
                   "parameters that are being averaged");
    if (d.local_updates.batch_size > 0 && d.model.kind == "swav")
        problem_at("local_updates.batch_size",
                   "[local_updates] does not go together with [model] kind swav, whose prototypes are frozen "
                   "for some "
                   "of the swarm's steps");
    if (d.schedule.start_learning_rate > 0 && d.schedule.warmup_steps == 0)
        problem_at("schedule.start_learning_rate",
                   "[schedule] start_learning_rate means nothing without warmup_steps");
    if (d.optimizer.nesterov && d.optimizer.name == "larc")
        problem_at("optimizer.nesterov", "[optimizer] nesterov = true is for sgd, not larc");
    if (d.optimizer.nesterov && d.optimizer.momentum == 0)
        problem_at("optimizer.nesterov", "[optimizer] nesterov = true needs a momentum above 0");
}

void Loader::throw_problems() {
    std::stable_sort(problems_.begin(), problems_.end(), [](const Problem& a, const Problem& b) {
        // The file's problems by place, then what no place has, then the flags' in their order.
        const auto rank = [](const Problem& p) {
            return p.place.line > 0 ? 0 : p.place.origin.empty() ? 1 : 2;
        };
        if (rank(a) != rank(b)) return rank(a) < rank(b);
        if (rank(a) != 0) return false;
        return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
    });
    const std::string file = file_.empty() ? "the flags" : file_;
    bool only_flags = true;
    std::vector<std::string> lines;
    for (const Problem& one : problems_) {
        if (one.place.line > 0)
            lines.push_back(fmt::format("{}:{}:{}: {}", file, one.place.line, one.place.column, one.text));
        else
            lines.push_back(
                fmt::format("{}: {}", one.place.origin.empty() ? file : one.place.origin, one.text));
        only_flags = only_flags && !one.place.origin.empty();
    }
    const ErrorKind kind = only_flags ? ErrorKind::invalid_argument : ErrorKind::bad_input;
    if (lines.size() == 1) throw DefinitionError(kind, lines.front(), lines);
    const std::string all =
        fmt::format("{} problems in {}:\n  {}", lines.size(), file, fmt::join(lines, "\n  "));
    throw DefinitionError(kind, all, lines);
}

}  // namespace shoal::run
