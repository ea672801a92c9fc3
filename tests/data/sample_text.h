// Real English text and a vocabulary for it: the licences that every Debian system has.
#pragma once

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <unistd.h>

#include "shoal/data/sentences.h"
#include "shoal/data/vocabulary.h"

namespace shoal::data::testing_support {

inline std::string read_text(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    std::ostringstream content;
    content << in.rdbuf();
    return content.str();
}

inline void write_text(const std::filesystem::path& file, const std::string& content) {
    std::ofstream(file, std::ios::binary) << content;
}

/// A name in a folder of this process, which is removed at its end.
inline std::filesystem::path temporary(const std::string& name) {
    struct Folder {
        std::filesystem::path path =
            std::filesystem::path(::testing::TempDir()) / ("shoal_data_" + std::to_string(::getpid()));
        int files = 0;
        Folder() { std::filesystem::create_directory(path); }
        ~Folder() { std::filesystem::remove_all(path); }
    };
    static Folder folder;
    return folder.path / (std::to_string(folder.files++) + "_" + name);
}

/// Paragraphs joined to one line each; a blank line after every third.
inline std::string sample_text() {
    std::string text;
    int paragraphs = 0;
    for (const char* name : {"GPL-2", "GPL-3", "LGPL-2.1", "Apache-2.0", "Artistic", "GFDL-1.3", "MPL-2.0"}) {
        std::istringstream lines(read_text(std::filesystem::path("/usr/share/common-licenses") / name));
        std::string paragraph;
        for (std::string line; std::getline(lines, line);) {
            const std::string_view words = trimmed(line);
            if (!words.empty()) {
                paragraph += (paragraph.empty() ? "" : " ") + std::string(words);
            } else if (!paragraph.empty()) {
                text += paragraph + "\n";
                if (++paragraphs % 3 == 0) text += "\n";
                paragraph.clear();
            }
        }
        text += paragraph + "\n\n";
    }
    return text;
}

struct SampleFiles {
    std::filesystem::path text, vocabulary;
};

/// The text and a vocabulary of 1000 pieces, kept for the next test process: training takes a second.
inline SampleFiles sample_files() {
    const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "shoal_sample_text_1";
    std::filesystem::create_directories(folder);
    SampleFiles files = {folder / "licences.txt", folder / "licences.model"};
    if (!std::filesystem::exists(files.text)) {
        const auto part = folder / ("part" + std::to_string(::getpid()));
        write_text(part, sample_text());
        std::filesystem::rename(part, files.text);
    }
    if (!std::filesystem::exists(files.vocabulary)) train_vocabulary(files.text, 1000, files.vocabulary);
    return files;
}

}  // namespace shoal::data::testing_support
