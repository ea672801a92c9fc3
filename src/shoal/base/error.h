// The one family of exceptions. An Error says what failed, at which peer (where there is one), and what the
// user can do.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace shoal {

enum class ErrorKind {
    invalid_argument,    ///< a caller's or user's value makes no sense (flag, run file, parameter)
    bad_input,           ///< a file of the user is missing, damaged or of the wrong kind
    refused,             ///< the other peer said no (run settings differ, not a member, unknown method)
    unreachable,         ///< no connection to the peer could be made
    timed_out,           ///< a deadline passed
    cancelled,           ///< the caller gave up
    connection_lost,     ///< an established connection broke
    protocol_violation,  ///< the other peer sent what no correct peer sends
    corrupted,           ///< bytes do not match their hash or signature
    system,              ///< the operating system refused (port taken, disk full)
};

/// The kind as a word for messages and metrics, e.g. "timed_out".
std::string_view to_string(ErrorKind kind);

class Error : public std::runtime_error {
  public:
    /// @param what  one sentence for a human; @param peer short name of the peer concerned, empty when there
    /// is none.
    Error(ErrorKind kind, const std::string& what, std::string peer = {})
        : std::runtime_error(peer.empty() ? what : "peer " + peer + ": " + what),
          kind_(kind),
          peer_(std::move(peer)) {}

    ErrorKind kind() const { return kind_; }
    const std::string& peer() const { return peer_; }

  private:
    ErrorKind kind_;
    std::string peer_;
};

}  // namespace shoal
