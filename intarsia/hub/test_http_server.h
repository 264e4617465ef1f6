// An HTTP server for tests on 127.0.0.1: a thread a connection, at most
// `kMaxRequests` of them. The handler is asked by one thread at a time.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace intarsia {

class TestHttpServer {
 public:
  static constexpr int kMaxRequests = 512;

  struct Request {
    std::string path;
    std::string head;  // the request line and all headers
    // The value of a header written as `name` ("Range"), or "".
    std::string Header(std::string_view name) const {
      const std::string key = "\r\n" + std::string(name) + ": ";
      const size_t at = head.find(key);
      if (at == std::string::npos) return "";
      const size_t begin = at + key.size();
      return head.substr(begin, head.find("\r\n", begin) - begin);
    }
  };
  struct Reply {
    int status = 200;
    std::string body;
    std::vector<std::string> headers = {};  // "Name: value"
    size_t cut = std::string::npos;  // body bytes sent before it hangs up
    bool stall = false;              // or, there, it falls silent
    bool trickle = false;            // or sends a byte now and then
    int64_t claimed_length = -1;     // Content-Length, where it lies
  };
  using Handler = std::function<Reply(const Request&)>;

  explicit TestHttpServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    ok_ = ::bind(listener_, generic, size) == 0 &&
          ::listen(listener_, 8) == 0 &&
          ::getsockname(listener_, generic, &size) == 0;
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~TestHttpServer() {
    stop_ = true;
    thread_.join();
    for (std::thread& thread : connections_) thread.join();
    ::close(listener_);
  }

  bool ok() const { return ok_; }
  int port() const { return port_; }
  std::string url(const std::string& user = "") const {
    return "http://" + user + "127.0.0.1:" + std::to_string(port_);
  }
  std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void Serve() {
    for (int i = 0; i < kMaxRequests && !stop_;) {
      pollfd waiting{listener_, POLLIN, 0};
      if (::poll(&waiting, 1, 20) <= 0) continue;
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0) continue;
      connections_.emplace_back([this, connection] {
        Answer(connection);
        ::close(connection);
      });
      ++i;
    }
  }

  void Answer(int connection) {
    Request request;
    char buffer[4096];
    while (request.head.find("\r\n\r\n") == std::string::npos) {
      pollfd waiting{connection, POLLIN, 0};
      if (::poll(&waiting, 1, 5000) <= 0) return;
      const ssize_t n = ::recv(connection, buffer, sizeof(buffer), 0);
      if (n <= 0 || request.head.size() > 65536) return;
      request.head.append(buffer, static_cast<size_t>(n));
    }
    const size_t begin = request.head.find(' ') + 1;
    request.path =
        request.head.substr(begin, request.head.find(' ', begin) - begin);
    Reply reply;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
      reply = handler_(request);
    }
    const int64_t length = reply.claimed_length >= 0
                               ? reply.claimed_length
                               : static_cast<int64_t>(reply.body.size());
    std::string out = "HTTP/1.1 " + std::to_string(reply.status) + " x\r\n";
    for (const std::string& header : reply.headers) out += header + "\r\n";
    out += "Connection: close\r\nContent-Length: ";
    out += std::to_string(length) + "\r\n\r\n";
    if (!request.head.starts_with("HEAD ")) {
      out += reply.body.substr(0, reply.cut);
    }
    for (size_t at = 0; at < out.size();) {
      const ssize_t n =
          ::send(connection, out.data() + at, out.size() - at, MSG_NOSIGNAL);
      if (n <= 0) return;
      at += static_cast<size_t>(n);
    }
    // Until the client gives up.
    for (size_t at = reply.cut; (reply.stall || reply.trickle) && !stop_;) {
      pollfd waiting{connection, POLLIN, 0};
      if (::poll(&waiting, 1, 20) > 0) return;
      if (!reply.trickle || at >= reply.body.size()) continue;
      if (::send(connection, &reply.body[at++], 1, MSG_NOSIGNAL) <= 0) return;
    }
  }

  Handler handler_;
  int listener_ = -1;
  uint16_t port_ = 0;
  bool ok_ = false;
  std::atomic<bool> stop_ = false;
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
  std::vector<std::thread> connections_;  // of thread_ alone, until it ends
  std::thread thread_;
};

}  // namespace intarsia
