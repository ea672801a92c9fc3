#include "shoal/run/result.h"

#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <iostream>

#include "shoal/base/error.h"

namespace shoal::run {

Result::Result(std::string name, ResultOptions options)
    : name_(std::move(name)), options_(std::move(options)) {
    json_["experiment"] = name_;
    json_["size"] = options_.quick ? "quick" : "full";
    json_["demands"] = nlohmann::json::array();
}

namespace {

std::string number(double figure, const std::string& unit) {
    return fmt::format("{:.4g}{}{}", figure, unit.empty() ? "" : " ", unit);
}

}  // namespace

void Result::demand_at_most(const std::string& what, double figure, double bound, const std::string& unit) {
    const bool met = std::isfinite(figure) && figure <= bound;
    demands_.push_back({what, number(figure, unit), "at most " + number(bound, unit), met});
    json_["demands"].push_back(
        {{"what", what}, {"figure", figure}, {"at_most", bound}, {"unit", unit}, {"met", met}});
}

void Result::demand_at_least(const std::string& what, double figure, double bound, const std::string& unit) {
    const bool met = std::isfinite(figure) && figure >= bound;
    demands_.push_back({what, number(figure, unit), "at least " + number(bound, unit), met});
    json_["demands"].push_back(
        {{"what", what}, {"figure", figure}, {"at_least", bound}, {"unit", unit}, {"met", met}});
}

void Result::demand(const std::string& what, bool met) {
    demands_.push_back({what, met ? "yes" : "no", "yes", met});
    json_["demands"].push_back({{"what", what}, {"met", met}});
}

int Result::finish() {
    if (!options_.json.empty()) {
        auto temporary = options_.json;
        temporary += ".part";
        std::ofstream output(temporary);
        output << json_.dump(2) << '\n';
        output.close();
        if (!output) throw Error(ErrorKind::system, "cannot write " + options_.json.string());
        std::filesystem::rename(temporary, options_.json);
    }
    bool all_met = true;
    for (const auto& demand : demands_) {
        all_met = all_met && demand.met;
        if (options_.check)
            fmt::print("{:5}  {}: {} (bound: {})\n", demand.met ? "met" : "short", demand.what, demand.figure,
                       demand.bound);
    }
    std::fflush(stdout);
    return options_.check && !all_met ? 1 : 0;
}

namespace {

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') result += '\\';
        result += c == '\n' ? ' ' : c;
    }
    return result + '"';
}

constexpr int kWidth = 1100, kHeight = 640, kHeightOfSeveral = 420;  // pixels

std::string script_of(const Picture& picture) {
    std::string script = "unset arrow\nunset label\nset title " + quoted(picture.title);
    script += "\nset xlabel " + quoted(picture.x_label) + "\nset ylabel " + quoted(picture.y_label);
    script += "\nset grid\nset key outside bottom center horizontal\nset tics nomirror\nset border 3\n";
    int arrow = 0;
    for (const auto& mark : picture.marks) {
        script +=
            fmt::format("set arrow {} from {},graph 0 to {},graph 1 nohead dashtype 2 lc rgb '#999999'\n",
                        ++arrow, mark.x, mark.x);
        script += fmt::format("set label {} {} at {},graph {} offset 0.4,0 font ',9'\n", arrow,
                              quoted(mark.text), mark.x, 0.97 - 0.05 * (arrow % 3));
    }
    script += "plot ";
    for (std::size_t i = 0; i < picture.curves.size(); ++i) {
        const auto& curve = picture.curves[i];
        script += fmt::format("{}'-' with {} title {}", i ? ", " : "",
                              curve.points ? "points pt 7 ps 0.6" : "lines lw 2", quoted(curve.title));
    }
    script += '\n';
    for (const auto& curve : picture.curves) {
        for (std::size_t i = 0; i < curve.x.size(); ++i)
            if (std::isfinite(curve.y[i])) script += fmt::format("{} {}\n", curve.x[i], curve.y[i]);
        script += "e\n";
    }
    return script;
}

std::string script_of(const std::vector<Picture>& pictures, const std::filesystem::path& file) {
    const bool scalable = file.extension() == ".svg", several = pictures.size() > 1;
    const int height = several ? kHeightOfSeveral * static_cast<int>(pictures.size()) : kHeight;
    std::string script =
        fmt::format("set terminal {} size {},{} {}\n", scalable ? "svg" : "pngcairo", kWidth, height,
                    scalable ? "font 'sans,14' background '#ffffff'" : "font 'sans,11'");
    script += "set output " + quoted(file.string()) + "\n";
    if (several) script += fmt::format("set multiplot layout {},1\n", pictures.size());
    for (const Picture& picture : pictures) script += script_of(picture);
    if (several) script += "unset multiplot\n";
    return script;
}

}  // namespace

void draw(const Picture& picture, const std::filesystem::path& file) {
    draw(std::vector<Picture>{picture}, file);
}

void draw(const std::vector<Picture>& pictures, const std::filesystem::path& file) {
    const std::string script = script_of(pictures, file);
    FILE* gnuplot = popen("gnuplot", "w");
    if (!gnuplot) throw Error(ErrorKind::system, "cannot start gnuplot");
    std::fwrite(script.data(), 1, script.size(), gnuplot);
    if (pclose(gnuplot) != 0)
        throw Error(ErrorKind::system,
                    "gnuplot could not draw " + file.string() + " (is gnuplot-nox installed?)");
}

}  // namespace shoal::run
