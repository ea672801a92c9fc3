// The options that say which run is meant: a run file, named flags for the common keys, and --set for all.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "shoal/run/definition.h"

namespace CLI {
class App;
}

namespace shoal::app {

class RunOptions {
  public:
    enum class File { required, optional };

    /// @param sections  whose flags are offered ("network", "peer", ...); --set reaches every key.
    RunOptions(CLI::App& app, File file, const std::vector<std::string>& sections);

    /// The definition from the file, if one was given, and the flags. Throws what run::load_definition
    /// throws.
    run::RunDefinition load(run::Purpose purpose) const;

    /// Empty if none was given.
    const std::string& file() const;
    std::vector<run::Override> overrides() const;

  private:
    struct Values;
    std::shared_ptr<Values> values_;
};

}  // namespace shoal::app
