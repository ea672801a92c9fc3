#include "shoal/net/plain_pipe.h"

#include <algorithm>
#include <openssl/rand.h>
#include <string_view>

namespace shoal::net {
namespace {

constexpr std::string_view kMagic = "shoal, plain, 1\n";
constexpr std::size_t kNonceBytes = 32;
constexpr std::size_t kGreetingBytes = kMagic.size() + sizeof(PublicKey) + kNonceBytes;
constexpr std::size_t kFirstReadBytes = 16 * 1024;

Bytes make_greeting(const PublicKey& key) {
    Bytes greeting(kGreetingBytes);
    const auto key_place = std::copy(kMagic.begin(), kMagic.end(), greeting.begin());
    const auto nonce_place = std::copy(key.begin(), key.end(), key_place);
    if (RAND_bytes(&*nonce_place, kNonceBytes) != 1)
        throw Error(ErrorKind::system, "OpenSSL could not draw random bytes");
    return greeting;
}

/// What a side signs: its role, and the greetings of both, the dialler's first.
Bytes transcript(bool server, const Bytes& of_dialler, const Bytes& of_server) {
    Bytes text = to_bytes(server ? "shoal plain handshake, server\n" : "shoal plain handshake, dialler\n");
    text.insert(text.end(), of_dialler.begin(), of_dialler.end());
    text.insert(text.end(), of_server.begin(), of_server.end());
    return text;
}

}  // namespace

PlainPipe::PlainPipe(tcp::socket socket)
    : socket_(std::move(socket)), remote_address_(remote_address_of(socket_)), buffer_(kFirstReadBytes) {
    prepare(socket_);
}

awaitable<Bytes> PlainPipe::read_exactly(std::size_t count) {
    while (early_.size() < count) {
        const MutableByteView space(buffer_.data.get(), buffer_.size);
        const std::size_t got = co_await receive_some(socket_, space, received_);
        early_.insert(early_.end(), buffer_.data.get(), buffer_.data.get() + got);
        const std::size_t compared = std::min(early_.size(), kMagic.size());
        if (count == kGreetingBytes &&
            as_text(ByteView(early_).first(compared)) != kMagic.substr(0, compared))
            throw Error(ErrorKind::protocol_violation, "is no Shoal peer without encryption");
    }
    const auto cut = early_.begin() + static_cast<std::ptrdiff_t>(count);
    Bytes result(early_.begin(), cut);
    early_.erase(early_.begin(), cut);
    co_return result;
}

awaitable<PeerId> PlainPipe::handshake(const KeyPair& key, bool server) {
    const Bytes ours = make_greeting(key.public_key());
    co_await send_bytes(socket_, ours, sent_);
    const Bytes theirs = co_await read_exactly(kGreetingBytes);
    const Signature signature =
        key.sign(server ? transcript(true, theirs, ours) : transcript(false, ours, theirs));
    co_await send_bytes(socket_, signature, sent_);
    const Bytes answer = co_await read_exactly(sizeof(Signature));
    PublicKey their_key{};
    std::copy_n(theirs.begin() + static_cast<std::ptrdiff_t>(kMagic.size()), their_key.size(),
                their_key.begin());
    Signature their_signature{};
    std::copy(answer.begin(), answer.end(), their_signature.begin());
    const Bytes signed_text = server ? transcript(false, theirs, ours) : transcript(true, ours, theirs);
    if (!verify(their_key, signed_text, their_signature))
        throw Error(ErrorKind::protocol_violation, "could not prove that it holds its key");
    co_return PeerId::of(their_key);
}

awaitable<ByteView> PlainPipe::read() {
    if (!early_.empty()) {
        const std::size_t count = std::min(early_.size(), buffer_.size);
        std::copy_n(early_.begin(), count, buffer_.data.get());
        early_.erase(early_.begin(), early_.begin() + static_cast<std::ptrdiff_t>(count));
        co_return ByteView(buffer_.data.get(), count);
    }
    if (grown_ > buffer_.size) buffer_ = Buffer(grown_);
    const MutableByteView space(buffer_.data.get(), buffer_.size);
    const std::size_t count = co_await receive_some(socket_, space, received_);
    if (count == buffer_.size && buffer_.size < kReadBytes) grown_ = buffer_.size * 4;
    co_return ByteView(buffer_.data.get(), count);
}

awaitable<void> PlainPipe::flush(OutgoingBatch& batch) {
    return send_batch(socket_, batch, sent_);
}

void PlainPipe::finish() {
    std::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
}

void PlainPipe::close() {
    std::error_code ignored;
    socket_.close(ignored);
}

}  // namespace shoal::net
