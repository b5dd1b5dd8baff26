// SPDX-License-Identifier: GPL-3.0-or-later
// thread: any of Orthanc's, many at a time.
#include "rest_routes.h"

#include <cctype>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include "plugin_state.h"
#include "request.h"

namespace cloudstore {
namespace {

constexpr uint16_t kServiceUnavailable = 503;
constexpr uint16_t kOk = 200;
constexpr uint16_t kMethodNotAllowed = 405;

const char* nameOf(OrthancPluginHttpMethod method) {
  switch (method) {
    case OrthancPluginHttpMethod_Get:
      return "GET";
    case OrthancPluginHttpMethod_Post:
      return "POST";
    case OrthancPluginHttpMethod_Put:
      return "PUT";
    case OrthancPluginHttpMethod_Delete:
      return "DELETE";
    default:
      return "";
  }
}

/** Orthanc 1.12.7 hands out arguments as they came, 1.13.0 decodes them (before it splits the
 * query, so that an encoded "&" separates there). What is encoded already stays, what can't be in a
 * query is encoded: of an Orthanc that decodes, a "+" or a "%41" that was meant literally is lost.
 */
void appendEncoded(std::string& query, const char* text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  const auto isHex = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
  for (const char* c = text; *c != '\0'; ++c) {
    const auto byte = static_cast<unsigned char>(*c);
    if (std::isalnum(byte) != 0 || std::strchr("-._~+", *c) != nullptr ||
        (*c == '%' && isHex(c[1]) && isHex(c[2]))) {
      query += *c;
    } else {
      query += {'%', kHex[byte >> 4], kHex[byte & 0xF]};
    }
  }
}

/** The path with its query, which Orthanc has taken apart. */
std::string targetOf(const char* url, const OrthancPluginHttpRequest& http) {
  std::string target = url;
  for (uint32_t i = 0; i < http.getCount; ++i) {
    target += i == 0 ? '?' : '&';
    appendEncoded(target, http.getKeys[i]);
    target += '=';
    appendEncoded(target, http.getValues[i]);
  }
  return target;
}

void send(OrthancPluginContext* context, OrthancPluginRestOutput* output,
          const RestAnswer& answer) {
  if (answer.body.size() > std::numeric_limits<uint32_t>::max()) {
    OrthancPluginSendHttpStatusCode(context, output, kServiceUnavailable);
  } else if (answer.status == kOk) {
    OrthancPluginAnswerBuffer(context, output, answer.body.data(),
                              static_cast<uint32_t>(answer.body.size()),
                              answer.contentType.c_str());
  } else if (answer.status == kMethodNotAllowed) {
    // OrthancPluginSendHttpStatus refuses this status and breaks the connection: it needs the
    // header Allow, which such an answer has as its body.
    OrthancPluginSendMethodNotAllowed(context, output, answer.body.c_str());
  } else {
    // As text/plain, whatever the body is: Orthanc says so itself, and would send a type of ours
    // beside its own. Its own errors are JSON under that name, too.
    OrthancPluginSendHttpStatus(context, output, answer.status, answer.body.data(),
                                static_cast<uint32_t>(answer.body.size()));
  }
}

OrthancPluginErrorCode onRest(OrthancPluginRestOutput* output, const char* url,
                              const OrthancPluginHttpRequest* http) noexcept {
  try {
    const std::shared_ptr<PluginState> state = currentState();
    if (state == nullptr) {
      return OrthancPluginErrorCode_Plugin;
    }
    const auto request = std::make_shared<Request>(
        Request::Subject{Operation::kRest, targetOf(url, *http), 0, 0, nameOf(http->method)},
        http->body, http->bodySize, nullptr);
    const Result result = state->lanes.first().call(request);
    if (result.verdict == Result::Verdict::kSuccess) {
      send(state->orthanc.raw(), output, request->restAnswer());
    } else {
      send(state->orthanc.raw(), output,
           {kServiceUnavailable, "text/plain", result.message + "\n"});
    }
    if (!state->orthanc.gate().isOpen(CallGate::Kind::kService)) {
      // The answer may have been given up while a call for it goes on in Orthanc, which waits for
      // this thread before it takes away what that call needs.
      state->orthanc.gate().awaitQuiet(CallGate::Kind::kService);
    }
    return OrthancPluginErrorCode_Success;
  } catch (...) {
    return OrthancPluginErrorCode_Plugin;
  }
}

}  // namespace

void registerRestRoutes(OrthancPluginContext* context) {
  // The variant without a lock: the other one runs all of a plugin's calls one after another.
  OrthancPluginRegisterRestCallbackNoLock(context, "/object-storage/.*", onRest);
  OrthancPluginRegisterRestCallbackNoLock(context, "/move-storage", onRest);
}

}  // namespace cloudstore
