// What `shoal doctor` cannot say itself, without libtorch: whether a TorchScript model trains. The second
// program tries it, as it would in training.
#include "shoal/examine_model.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shoal/base/error.h"
#include "shoal/command.h"

namespace shoal::app {
namespace {

struct Ended {
    int code = 0;
    std::string errors;
};

/// Runs a program and reads its standard error; its output goes nowhere.
Ended run(std::vector<std::string> words) {
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw Error(ErrorKind::system, std::strerror(errno));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, pipe[1], STDERR_FILENO);
    pid_t child = 0;
    const int failure = posix_spawn(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(pipe[1]);
    Ended ended;
    std::array<char, 4096> buffer{};
    for (ssize_t count = 0; (count = ::read(pipe[0], buffer.data(), buffer.size())) > 0;)
        ended.errors.append(buffer.data(), static_cast<std::size_t>(count));
    ::close(pipe[0]);
    if (failure != 0) throw Error(ErrorKind::system, std::strerror(failure));
    int status = 0;
    ::waitpid(child, &status, 0);
    ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : kFailure;
    if (WIFSIGNALED(status)) ended.errors += "it was ended by signal " + std::to_string(WTERMSIG(status));
    return ended;
}

run::Finding make(run::Finding::Level level, std::string text, std::string advice) {
    run::Finding finding;
    finding.level = level;
    finding.subject = "model";
    finding.text = std::move(text);
    finding.advice = std::move(advice);
    return finding;
}

}  // namespace

run::Finding examine_model(const std::string& run_file, const std::vector<run::Override>& overrides) {
    using enum run::Finding::Level;
    std::vector<std::string> words;
    try {
        words = {torch_program().string(), "train", run_file, "--examine"};
    } catch (const Error&) {
        return make(note, "whether the model trains was not tried: shoal-torch is not installed here",
                    "look with shoal doctor on a machine that has it");
    }
    for (const run::Override& one : overrides) {
        words.emplace_back("--set");
        words.push_back(one.key + "=" + one.value);
    }
    const Ended ended = run(std::move(words));
    if (ended.code == 0) return make(fine, "computes a micro-batch, as it would in training", "");
    const std::string mark = "shoal: error: ";
    const std::size_t begin = ended.errors.find(mark);
    std::string text = ended.errors.substr(begin == std::string::npos ? 0 : begin + mark.size());
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return make(wrong, std::move(text), "this is what shoal train would end with");
}

}  // namespace shoal::app
