#include "shoal/net/tls_pipe.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <openssl/bio.h>
#include <openssl/err.h>

#include "shoal/net/certificate.h"

namespace shoal::net {
namespace {

constexpr std::size_t kRecordBytes = 16 * 1024;
constexpr std::size_t kPlainBytes = 64 * 1024;      // stays in the cache between decryption and the message
constexpr std::size_t kFirstReadBytes = 16 * 1024;  // grows to kReadBytes on a connection that carries much
/// AES-GCM keys wear out after 2^24.5 full records (380 GB); ask for fresh ones well before.
constexpr std::uint64_t kBytesPerKey = std::uint64_t{1} << 36;

std::string openssl_reason() {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char* reason = code ? ERR_reason_error_string(code) : nullptr;
    return reason ? reason : "unknown";
}

}  // namespace

struct TlsPipe::Session {
    explicit Session(SSL_CTX* context, bool server);
    ~Session() { SSL_free(ssl); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    static int bio_read(BIO* bio, char* into, int length);
    static int bio_write(BIO* bio, const char* from, int length);
    static long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }
    static BIO_METHOD* method();

    SSL* ssl = nullptr;
    Buffer records{kFirstReadBytes};  // encrypted, from the socket
    std::size_t begin = 0, end = 0;   // of what SSL has not taken yet
    Bytes out;                        // encrypted, not yet sent
    std::array<std::uint8_t, kRecordBytes> partial_record{};
    std::size_t partial_size = 0;
    std::uint64_t encrypted_with_key = 0;
};

int TlsPipe::Session::bio_read(BIO* bio, char* into, int length) {
    auto& session = *static_cast<Session*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (session.begin == session.end) {
        BIO_set_retry_read(bio);
        return -1;
    }
    const std::size_t count = std::min(session.end - session.begin, static_cast<std::size_t>(length));
    std::memcpy(into, session.records.data.get() + session.begin, count);
    session.begin += count;
    return static_cast<int>(count);
}

int TlsPipe::Session::bio_write(BIO* bio, const char* from, int length) {
    auto& session = *static_cast<Session*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const auto* bytes =
        reinterpret_cast<const std::uint8_t*>(from);  // as char it would be copied byte by byte
    session.out.insert(session.out.end(), bytes, bytes + length);
    return length;
}

BIO_METHOD* TlsPipe::Session::method() {
    struct Method {
        Method() : value(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "shoal memory")) {
            BIO_meth_set_read(value, bio_read);
            BIO_meth_set_write(value, bio_write);
            BIO_meth_set_ctrl(value, bio_control);
        }
        ~Method() { BIO_meth_free(value); }
        Method(const Method&) = delete;
        Method& operator=(const Method&) = delete;
        BIO_METHOD* value;
    };
    static const Method method;  // a table of functions, made once, never changed
    return method.value;
}

TlsPipe::Session::Session(SSL_CTX* context, bool server) : ssl(SSL_new(context)) {
    BIO* bio = ssl ? BIO_new(method()) : nullptr;
    if (!bio) {
        SSL_free(ssl);
        throw Error(ErrorKind::system, "OpenSSL could not make a TLS session");
    }
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);  // takes the one reference
    if (server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
    }
}

TlsPipe::TlsPipe(tcp::socket socket, SSL_CTX* context, bool server)
    : socket_(std::move(socket)),
      remote_address_(remote_address_of(socket_)),
      session_(std::make_unique<Session>(context, server)),
      plain_(kPlainBytes) {
    prepare(socket_);
}

TlsPipe::~TlsPipe() = default;

awaitable<PeerId> TlsPipe::handshake() {
    for (;;) {
        ERR_clear_error();
        const int result = SSL_do_handshake(session_->ssl);
        const int error = SSL_get_error(session_->ssl, result);
        const std::string reason = result == 1 || error == SSL_ERROR_WANT_READ ? "" : openssl_reason();
        co_await flush_session();  // an alert, too
        if (result == 1) break;
        if (error != SSL_ERROR_WANT_READ) {
            throw Error(ErrorKind::protocol_violation,
                        "is no Shoal peer with encryption (the TLS handshake failed: " + reason + ")");
        }
        co_await receive_records();
    }
    co_return tls_peer(session_->ssl);
}

/// How many bytes it put into plain_; 0: more records are needed.
std::size_t TlsPipe::decrypt() {
    std::size_t filled = 0;
    ERR_clear_error();  // once: what succeeds leaves no errors behind
    while (filled < plain_.size) {
        std::size_t count = 0;
        const int result =
            SSL_read_ex(session_->ssl, plain_.data.get() + filled, plain_.size - filled, &count);
        if (result == 1) {
            filled += count;
            continue;
        }
        const int error = SSL_get_error(session_->ssl, result);
        if (error == SSL_ERROR_WANT_READ || filled > 0) break;  // an error shows again at the next call
        if (error == SSL_ERROR_ZERO_RETURN)
            throw Error(ErrorKind::connection_lost, "it closed the connection");
        throw Error(ErrorKind::connection_lost, "the encrypted connection broke (" + openssl_reason() + ")");
    }
    return filled;
}

awaitable<void> TlsPipe::receive_records() {
    Session& session = *session_;
    // SSL keeps the beginning of an incomplete record itself, so the buffer is always empty here.
    if (session.end == session.records.size && session.records.size < kReadBytes)
        session.records = Buffer(session.records.size * 4);
    session.begin = session.end = 0;
    const MutableByteView space(session.records.data.get(), session.records.size);
    session.end = co_await receive_some(socket_, space, received_);
}

awaitable<ByteView> TlsPipe::read() {
    for (;;) {
        const std::size_t count = decrypt();
        if (count > 0) co_return ByteView(plain_.data.get(), count);
        co_await receive_records();
    }
}

void TlsPipe::encrypt(ByteView bytes) {
    Session& session = *session_;
    ERR_clear_error();
    std::size_t written = 0;
    if (SSL_write_ex(session.ssl, bytes.data(), bytes.size(), &written) != 1 || written != bytes.size())
        throw Error(ErrorKind::connection_lost, "the encrypted connection broke (" + openssl_reason() + ")");
    session.encrypted_with_key += bytes.size();
    if (session.encrypted_with_key >= kBytesPerKey) {
        SSL_key_update(session.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
        session.encrypted_with_key = 0;
    }
}

/// Encrypts in full records: long views where they lie, what is short (headers, ends of messages) by way of
/// partial_record.
void TlsPipe::stage(OutgoingBatch& batch) {
    Session& session = *session_;
    const auto encrypt_partial = [&] {
        encrypt(ByteView(session.partial_record).first(session.partial_size));
        session.partial_size = 0;
    };
    for (const asio::const_buffer& part : batch.parts()) {
        ByteView bytes(static_cast<const std::uint8_t*>(part.data()), part.size());
        while (!bytes.empty()) {
            if (session.partial_size == 0 && bytes.size() >= kRecordBytes) {
                const ByteView whole = bytes.first(bytes.size() - bytes.size() % kRecordBytes);
                encrypt(whole);
                bytes = bytes.subspan(whole.size());
                continue;
            }
            const std::size_t count = std::min(bytes.size(), kRecordBytes - session.partial_size);
            std::memcpy(session.partial_record.data() + session.partial_size, bytes.data(), count);
            session.partial_size += count;
            bytes = bytes.subspan(count);
            if (session.partial_size == kRecordBytes) encrypt_partial();
        }
    }
    if (session.partial_size > 0) encrypt_partial();
    batch.consume_all();
}

awaitable<void> TlsPipe::flush(OutgoingBatch&) {
    return flush_session();
}

awaitable<void> TlsPipe::flush_session() {
    Session& session = *session_;
    if (session.out.empty()) co_return;
    // SSL may append while this waits (an answer to a key update): send from a buffer of its own.
    Bytes sending;
    sending.swap(session.out);
    co_await send_bytes(socket_, sending, sent_);
    sending.clear();
    if (session.out.empty()) session.out.swap(sending);  // keep the memory
}

void TlsPipe::finish() {
    std::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
}

void TlsPipe::close() {
    std::error_code ignored;
    socket_.close(ignored);
}

}  // namespace shoal::net
