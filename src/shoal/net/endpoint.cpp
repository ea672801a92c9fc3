#include <charconv>
#include <string>

#include "shoal/base/error.h"
#include "shoal/net/network.h"

namespace shoal::net {
namespace {

[[noreturn]] void refuse(std::string_view text, const char* why) {
    std::string shown(text.substr(0, 80));
    throw Error(ErrorKind::invalid_argument, "'" + shown + "' is no address (" + why +
                                                 "); write host:port or [IPv6]:port, e.g. 10.0.0.1:31337");
}

bool is_host_character(char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

bool is_v6_character(char c) {
    const bool hex = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || (c >= '0' && c <= '9');
    return hex || c == ':' || c == '.' || c == '%' || is_host_character(c);
}

std::uint16_t parse_port(std::string_view digits, std::string_view whole) {
    unsigned port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port == 0 || port > 65535)
        refuse(whole, "the port is not a number from 1 to 65535");
    return static_cast<std::uint16_t>(port);
}

}  // namespace

std::string Endpoint::to_string() const {
    const bool v6 = host.find(':') != std::string::npos;
    return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Endpoint Endpoint::parse(std::string_view text) {
    if (text.size() > 300) refuse(text, "too long");
    Endpoint endpoint;
    if (text.starts_with('[')) {
        const std::size_t close = text.find("]:");
        if (close == std::string_view::npos) refuse(text, "no ']:' before the port");
        endpoint.host = text.substr(1, close - 1);
        endpoint.port = parse_port(text.substr(close + 2), text);
        if (endpoint.host.find(':') == std::string::npos) refuse(text, "brackets are for IPv6 addresses");
        for (char c : endpoint.host)
            if (!is_v6_character(c)) refuse(text, "not an IPv6 address");
        return endpoint;
    }
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) refuse(text, "the port is missing");
    endpoint.host = text.substr(0, colon);
    if (endpoint.host.empty()) refuse(text, "the host is missing");
    if (endpoint.host.find(':') != std::string::npos) refuse(text, "IPv6 addresses need brackets");
    for (char c : endpoint.host)
        if (!is_host_character(c)) refuse(text, "not a host name");
    endpoint.port = parse_port(text.substr(colon + 1), text);
    return endpoint;
}

}  // namespace shoal::net
