#include "shoal/lab/rendezvous.h"

#include <fmt/format.h>
#include <fstream>

#include "shoal/base/error.h"

namespace shoal::lab {

awaitable<std::vector<std::string>> meet(Clock& clock, std::filesystem::path folder, int rank, int size,
                                         std::string word) {
    // Under another name first, so that nobody reads half of it.
    const auto part = folder / fmt::format("{}.part", rank);
    std::ofstream(part) << word << '\n';
    std::filesystem::rename(part, folder / std::to_string(rank));
    std::vector<std::string> words;
    const TimePoint deadline = clock.now() + std::chrono::minutes(1);
    for (int other = 0; other < size; ++other) {
        const auto file = folder / std::to_string(other);
        while (!std::filesystem::exists(file)) {
            if (clock.now() > deadline)
                throw Error(ErrorKind::timed_out, fmt::format("process {} did not start", other));
            co_await clock.sleep_for(std::chrono::milliseconds(2));
        }
        std::string line;
        std::ifstream input(file);
        std::getline(input, line);
        words.push_back(std::move(line));
    }
    co_return words;
}

}  // namespace shoal::lab
