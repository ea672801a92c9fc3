// TLS 1.3 on a socket, through memory: a whole batch is encrypted, then sent by one system call; a read takes
// up to 256 KiB of records from the system and then decrypts them. (asio::ssl::stream makes a system call for
// each record.)
#pragma once

#include <memory>
#include <openssl/ssl.h>

#include "shoal/base/identity.h"
#include "shoal/net/socket.h"

namespace shoal::net {

class TlsPipe final : public BytePipe {
  public:
    /// @param context  from make_tls_context, of the side that `server` says; copied references, may go away.
    TlsPipe(tcp::socket socket, SSL_CTX* context, bool server);
    ~TlsPipe() override;

    /// Before anything else. Returns whose key the other side holds. Throws Error(connection_lost), or
    /// Error(protocol_violation) if the other side is no Shoal peer with TLS. No time limit of its own.
    awaitable<PeerId> handshake();

    awaitable<ByteView> read() override;
    void stage(OutgoingBatch& batch) override;
    awaitable<void> flush(OutgoingBatch& batch) override;
    void finish() override;
    void close() override;
    std::uint64_t bytes_sent() const override { return sent_; }
    std::uint64_t bytes_received() const override { return received_; }
    std::uint64_t bytes_on_the_way() const override { return unacknowledged(socket_); }
    std::string remote_address() const override { return remote_address_; }

  private:
    struct Session;  // the SSL object and the two ends of its memory
    std::size_t decrypt();
    void encrypt(ByteView bytes);
    awaitable<void> flush_session();
    awaitable<void> receive_records();

    tcp::socket socket_;
    const std::string remote_address_;
    const std::unique_ptr<Session> session_;
    Buffer plain_;  // what read() returned a view of
    std::uint64_t sent_ = 0, received_ = 0;
};

}  // namespace shoal::net
