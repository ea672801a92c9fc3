// A socket without encryption, for measurements. The other side still proves who it is, but nothing is secret
// and nothing protects the bytes that follow.
#pragma once

#include "shoal/base/identity.h"
#include "shoal/net/socket.h"

namespace shoal::net {

class PlainPipe final : public BytePipe {
  public:
    explicit PlainPipe(tcp::socket socket);

    /// Both sides send a magic word, their public key and a nonce, then a signature over both. Returns whose
    /// key the other side holds. Throws Error(connection_lost), or Error(protocol_violation) if the other
    /// side is no Shoal peer without encryption. No time limit of its own.
    awaitable<PeerId> handshake(const KeyPair& key, bool server);

    awaitable<ByteView> read() override;
    void stage(OutgoingBatch&) override {}
    awaitable<void> flush(OutgoingBatch& batch) override;
    void finish() override;
    void close() override;
    std::uint64_t bytes_sent() const override { return sent_; }
    std::uint64_t bytes_received() const override { return received_; }
    std::uint64_t bytes_on_the_way() const override { return unacknowledged(socket_); }
    std::string remote_address() const override { return remote_address_; }

  private:
    awaitable<Bytes> read_exactly(std::size_t count);
    tcp::socket socket_;
    const std::string remote_address_;
    Buffer buffer_;
    std::size_t grown_ = 0;  // size of the buffer from the next read on, if larger
    Bytes early_;            // came with the handshake's last bytes
    std::uint64_t sent_ = 0, received_ = 0;
};

}  // namespace shoal::net
