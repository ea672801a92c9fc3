#include "shoal/run_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <deque>

#include "shoal/run/schema.h"

namespace shoal::app {

struct RunOptions::Values {
    struct Named {
        const run::Field* field = nullptr;
        std::vector<std::string> given;
        bool flag = false;
    };
    std::string file;
    std::vector<std::string> set;
    std::deque<Named> named;  // CLI11 keeps references into it
};

RunOptions::RunOptions(CLI::App& app, File file, const std::vector<std::string>& sections)
    : values_(std::make_shared<Values>()) {
    CLI::Option* positional =
        app.add_option("RUN.toml", values_->file, "The file that defines the run (`shoal init` writes one)");
    if (file == File::required) positional->required();
    for (const run::Field& field : run::fields()) {
        const bool offered = std::find(sections.begin(), sections.end(), field.section) != sections.end();
        if (field.flag.empty() || !offered) continue;
        Values::Named& named = values_->named.emplace_back();
        named.field = &field;
        if (field.type == run::FieldType::flag) {
            app.add_flag(field.flag, named.flag, field.meaning)->group("Instead of the run file's keys");
            continue;
        }
        CLI::Option* option = app.add_option(field.flag, named.given, field.meaning);
        option->group("Instead of the run file's keys")->type_name(field.name())->expected(1);
        if (field.type == run::FieldType::texts)
            option->take_all();
        else
            option->take_last();
    }
    app.add_option("--set", values_->set, "Any key of the run file, as in --set schedule.learning_rate=0.01")
        ->type_name("KEY=VALUE")
        ->group("Instead of the run file's keys")
        ->expected(1)
        ->take_all();
}

std::vector<run::Override> RunOptions::overrides() const {
    std::vector<run::Override> all;
    for (const std::string& text : values_->set) all.push_back(run::parse_override(text));
    for (const Values::Named& named : values_->named) {
        run::Override one;
        one.key = named.field->name();
        if (named.flag) {
            one.value = "true";
            one.origin = named.field->flag;
        } else if (!named.given.empty()) {
            for (const std::string& part : named.given) one.value += (one.value.empty() ? "" : ",") + part;
            one.origin = named.field->flag + " " + one.value;
        } else {
            continue;
        }
        all.push_back(std::move(one));
    }
    return all;
}

run::RunDefinition RunOptions::load(run::Purpose purpose) const {
    if (values_->file.empty()) return run::definition_from(overrides(), purpose);
    return run::load_definition(values_->file, overrides(), purpose);
}

const std::string& RunOptions::file() const {
    return values_->file;
}

}  // namespace shoal::app
