#include "run/program.h"

#include "run/temporary_folder.h"

#include <algorithm>
#include <atomic>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace shoal::run {
namespace {}  // namespace

struct Program::Descriptor {
    explicit Descriptor(int n) : number(n) {}
    ~Descriptor() {
        if (number >= 0) ::close(number);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int number;
};

std::filesystem::path program_folder() {
    // Tests are built into the same tree: BUILD/tests/test_run or BUILD/bin/test_run; programs into
    // BUILD/bin.
    const auto self = std::filesystem::read_symlink("/proc/self/exe");
    return self.parent_path().parent_path() / "bin";
}

Program::Program(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                 const std::filesystem::path& folder) {
    static std::atomic<int> number = 0;
    const std::string id = std::to_string(++number);
    out_ = folder / ("out-" + id);
    err_ = folder / ("err-" + id);
    write_whole(out_, "");  // there before anybody watches it
    write_whole(err_, "");
    std::vector<std::string> words = {program.string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    process_ = ::fork();
    if (process_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // no test leaves peers behind, even if it crashes
    const int out = ::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const int err = ::open(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (::chdir(folder.c_str()) != 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) ::_exit(126);
    ::execv(program.c_str(), argv.data());
    ::_exit(127);
}

Program::~Program() {
    if (waited_) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, &status_, 0);
}

/// Until the output grows or the process ends.
void Program::until_news(const Descriptor& watching, std::chrono::steady_clock::time_point deadline) const {
    const Descriptor process(static_cast<int>(::syscall(SYS_pidfd_open, process_, 0)));
    pollfd waiting[2] = {{.fd = watching.number, .events = POLLIN, .revents = 0},
                         {.fd = process.number, .events = POLLIN, .revents = 0}};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    ::poll(waiting, 2, std::max(0, static_cast<int>(left.count())));
    char events[4096];
    while (::read(watching.number, events, sizeof events) > 0) {
    }
}

void Program::signal(int number) const {
    ::kill(process_, number);
}

bool Program::ended() {
    if (!waited_) waited_ = ::waitpid(process_, &status_, WNOHANG) == process_;
    return waited_;
}

int Program::wait(std::chrono::seconds patience) {
    // A process descriptor becomes readable when the process ends.
    if (!ended()) {
        const Descriptor process(static_cast<int>(::syscall(SYS_pidfd_open, process_, 0)));
        pollfd waiting{.fd = process.number, .events = POLLIN, .revents = 0};
        ::poll(&waiting, 1, static_cast<int>(std::chrono::milliseconds(patience).count()));
    }
    if (!ended()) {
        ADD_FAILURE() << "did not end within " << patience.count() << " s; standard error: " << errors();
        ::kill(process_, SIGKILL);
        ::waitpid(process_, &status_, 0);
        waited_ = true;
    }
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 1000 + WTERMSIG(status_);
}

std::string Program::line_with(const std::string& text, const std::filesystem::path& file) {
    std::string line;
    const auto has_line = [&](const std::string& all) {
        const std::size_t place = all.find(text);
        const std::size_t end = place == std::string::npos ? place : all.find('\n', place);
        if (end == std::string::npos) return false;
        const std::size_t before = all.rfind('\n', place);
        const std::size_t begin = before == std::string::npos ? 0 : before + 1;
        line = all.substr(begin, end - begin);
        return true;
    };
    wait_for(has_line, "wrote '" + text + "'", file);
    return line;
}

void Program::wait_for(const std::function<bool(const std::string& output)>& wanted,
                       const std::string& what) {
    wait_for(wanted, what, out_);
}

void Program::wait_for(const std::function<bool(const std::string& text)>& wanted, const std::string& what,
                       const std::filesystem::path& file) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    const Descriptor watching(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    ::inotify_add_watch(watching.number, file.c_str(), IN_MODIFY);
    for (;;) {
        const bool last = ended() || std::chrono::steady_clock::now() > deadline;
        if (wanted(read_whole(file))) return;
        if (last) {
            ADD_FAILURE() << "never " << what << "; output: " << output() << "; errors: " << errors();
            return;
        }
        until_news(watching, deadline);
    }
}

std::string Program::output() const {
    return read_whole(out_);
}

std::string Program::errors() const {
    return read_whole(err_);
}

Ended shoal(const std::vector<std::string>& arguments, const std::filesystem::path& folder) {
    Program program(program_folder() / "shoal", arguments, folder);
    Ended result;
    result.code = program.wait();
    result.output = program.output();
    result.errors = program.errors();
    return result;
}

}  // namespace shoal::run
