#include <gtest/gtest.h>

#include "shoal/base/error.h"
#include "shoal/net/network.h"

namespace shoal::net {
namespace {

TEST(EndpointText, reads_names_and_addresses_of_both_families) {
    EXPECT_EQ(Endpoint::parse("10.0.0.1:31337").host, "10.0.0.1");
    EXPECT_EQ(Endpoint::parse("10.0.0.1:31337").port, 31337);
    EXPECT_EQ(Endpoint::parse("seed.example.org:1").host, "seed.example.org");
    EXPECT_EQ(Endpoint::parse("[::1]:65535").host, "::1");
    EXPECT_EQ(Endpoint::parse("[fe80::1%eth0]:80").host, "fe80::1%eth0");
}

TEST(EndpointText, writes_what_it_reads) {
    for (const char* text : {"10.0.0.1:31337", "[::1]:65535", "a-b.c:9"})
        EXPECT_EQ(Endpoint::parse(text).to_string(), text);
}

TEST(EndpointText, refuses_everything_else) {
    for (const char* text :
         {"", ":", "host", "host:", ":80", "host:0", "host:65536", "host:-1", "host:8x", "::1:80", "[::1]",
          "[::1]80", "[host]:80", "[]:80", "ho st:80", "host:80 ", "http://host:80"})
        EXPECT_THROW(Endpoint::parse(text), Error) << text;
    EXPECT_THROW(Endpoint::parse(std::string(1000, 'a') + ":80"), Error);
}

}  // namespace
}  // namespace shoal::net
