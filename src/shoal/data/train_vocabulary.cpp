#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <spawn.h>
#include <string>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#include "shoal/base/error.h"
#include "shoal/data/mapped_file.h"
#include "shoal/data/sentences.h"
#include "shoal/data/vocabulary.h"

namespace shoal::data {
namespace {

constexpr std::size_t kEnoughText = std::size_t{32} << 20;
constexpr std::size_t kStretch = std::size_t{64} << 10;

/// A folder beside the result, so that the last rename stays on one file system; removed with all that is in
/// it.
class WorkFolder {
  public:
    explicit WorkFolder(const std::filesystem::path& out) {
        std::string name = out.string() + ".XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) {
            throw Error(ErrorKind::system, "vocabulary " + out.string() + " cannot be written: " +
                                               std::error_code(errno, std::generic_category()).message());
        }
        path_ = name;
    }
    ~WorkFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    WorkFolder(const WorkFolder&) = delete;
    WorkFolder& operator=(const WorkFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(const char* name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

/// Writes the sentences of a text, one a line; of a large text, evenly spaced stretches of 64 KiB.
void write_sentences(std::string_view text, const std::filesystem::path& file) {
    std::ofstream out(file, std::ios::binary);
    const std::size_t stride = std::max<std::size_t>(1, text.size() / kEnoughText) * kStretch;
    std::string sentence;
    for (std::size_t place = 0; place < text.size();) {
        if (place % stride >= kStretch) {
            place = sentence_end(text, std::min(text.size(), (place / stride + 1) * stride));
            continue;
        }
        const std::size_t end = sentence_end(text, place);
        sentence = trimmed(text.substr(place, end - place));
        place = end;
        // The trainer reserves these for itself.
        std::erase(sentence, '\0');
        std::ranges::replace(sentence, '\t', ' ');
        if (!sentence.empty()) out << sentence << '\n';
    }
    out.close();
    if (!out)
        throw Error(ErrorKind::system, "file " + file.string() + " cannot be written; is the disk full?");
}

/// Runs a program in a folder, with its output in the file `log` there, and returns its wait status. Throws
/// Error(system) if it cannot be started.
int run_program(const std::vector<std::string>& command, const std::filesystem::path& folder) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    pid_t process = 0;
    const int failure = ::posix_spawnp(&process, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failure != 0) {
        throw Error(ErrorKind::system, command[0] + " cannot be started (" +
                                           std::error_code(failure, std::generic_category()).message() +
                                           "); install Debian's package sentencepiece");
    }
    int status = 0;
    while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/// The last line that says something: the trainer's reason.
std::string last_line(const std::filesystem::path& log) {
    std::ifstream in(log);
    std::string line, last = "no reason given";
    while (std::getline(in, line)) {
        if (!trimmed(line).empty()) last = line;
    }
    // Without the place in the trainer's source code, "trainer_interface.cc(590) [condition] ".
    const std::size_t bracket = last.rfind("] ");
    return bracket == std::string::npos ? last : last.substr(bracket + 2);
}

}  // namespace

void train_vocabulary(const std::filesystem::path& text, std::int64_t size,
                      const std::filesystem::path& out) {
    if (size < 64 || size > 1'000'000) {
        throw Error(ErrorKind::invalid_argument, "a vocabulary of " + std::to_string(size) +
                                                     " pieces makes no sense; choose 64 to 1000000");
    }
    const MappedFile file(text, "text file", "check `path` of the data set");
    const WorkFolder work(out);
    const auto model = work / "vocabulary.model";
    write_sentences(file.text(), work / "sentences.txt");
    // The names are relative because the trainer writes them into the model, which must come out the same
    // everywhere.
    const std::vector<std::string> command = {
        "spm_train", "--input=sentences.txt", "--model_prefix=vocabulary",
        "--vocab_size=" + std::to_string(size), "--model_type=unigram", "--pad_id=0", "--unk_id=1",
        "--bos_id=-1", "--eos_id=-1", "--control_symbols=[CLS],[SEP],[MASK]",
        "--normalization_rule_name=nmt_nfkc_cf", "--split_digits=true",
        "--max_sentence_length=" + std::to_string(2 * kLongestSentence),
        // Two threads whatever the machine has: the trainer's sums depend on their number.
        "--num_threads=2", "--minloglevel=1"};
    const int status = run_program(command, work.path());
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        throw Error(ErrorKind::system, "spm_train cannot be started; install Debian's package sentencepiece");
    }
    std::error_code failure;
    if (status != 0 || !std::filesystem::is_regular_file(model, failure)) {
        throw Error(ErrorKind::bad_input, "no vocabulary of " + std::to_string(size) +
                                              " pieces can be made from " + text.string() + ": " +
                                              last_line(work / "log") + " Use more text or fewer pieces");
    }
    std::filesystem::rename(model, out, failure);
    if (failure)
        throw Error(ErrorKind::system,
                    "vocabulary " + out.string() + " cannot be written: " + failure.message());
}

}  // namespace shoal::data
