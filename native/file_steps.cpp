// SPDX-License-Identifier: GPL-3.0-or-later
#include "file_steps.h"

#include <fcntl.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arguments.h"

namespace cloudstore {
namespace {

using Clock = std::chrono::steady_clock;

constexpr mode_t kMode = 0600;
constexpr int kNoFile = -1;
constexpr double kMaxInt = std::numeric_limits<int>::max();

enum class Kind : uint8_t {
  kOpen,
  kRead,
  kWrite,
  kSyncData,
  kClose,
  kRename,
  kUnlink,
  kSyncFolder
};

constexpr std::array<std::pair<std::string_view, Kind>, 8> kKinds{{
    {"open", Kind::kOpen},
    {"read", Kind::kRead},
    {"write", Kind::kWrite},
    {"syncData", Kind::kSyncData},
    {"close", Kind::kClose},
    {"rename", Kind::kRename},
    {"unlink", Kind::kUnlink},
    {"syncFolder", Kind::kSyncFolder},
}};

struct Step {
  Kind kind;
  std::string path;
  /** rename: the new name. */
  std::string to;
  std::span<uint8_t> bytes;
  /** open: the flags. read, write: where in the file. */
  uint64_t number;
};

template <typename Call>
auto repeated(Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) {
      return result;
    }
  }
}

/** @returns 0, or one of libuv's error codes */
template <typename Call>
int resultOf(Call call) {
  return repeated(call) < 0 ? -errno : 0;
}

int syncFolder(const std::string& path) {
  const int folder =
      repeated([&] { return open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (folder < 0) {
    return -errno;
  }
  const int result = resultOf([&] { return fsync(folder); });
  close(folder);
  // Network file systems that cannot do this do it by themselves.
  constexpr std::array kByItself{UV_EINVAL, UV_ENOTSUP, UV_EBADF, UV_EPERM};
  return std::ranges::find(kByItself, result) == kByItself.end() ? result : 0;
}

/** One call. thread: js-loop makes, settles and frees it; in between, `run` has it to itself. */
class FileSteps {
 public:
  FileSteps(int file, Clock::time_point end) : file_(file), end_(end) {}
  /** Also of a call that was never begun, or whose end nobody hears of. */
  ~FileSteps() { closeFile(); }
  FileSteps(const FileSteps&) = delete;
  FileSteps& operator=(const FileSteps&) = delete;

  void add(const Napi::Array& told) {
    const std::string name = told.Get(0U).ToString();
    const auto* const known =
        std::ranges::find(kKinds, name, &std::pair<std::string_view, Kind>::first);
    if (known == kKinds.end()) {
      throw Napi::TypeError::New(told.Env(), "\"" + name + "\" is no step");
    }
    Step step{known->second, {}, {}, {}, 0};
    switch (step.kind) {
      case Kind::kOpen:
        step.path = told.Get(1U).ToString();
        step.number = unsignedOf(told.Get(2U), "flags", kMaxInt);
        break;
      case Kind::kRead:
      case Kind::kWrite: {
        const Napi::Value memory = told.Get(1U);
        step.bytes = bytesOf(memory);
        memory_.push_back(Napi::Persistent(memory.As<Napi::Object>()));
        step.number = unsignedOf(told.Get(2U), "position");
        break;
      }
      case Kind::kRename:
        step.to = told.Get(2U).ToString();
        [[fallthrough]];
      case Kind::kUnlink:
      case Kind::kSyncFolder:
        step.path = told.Get(1U).ToString();
        break;
      case Kind::kSyncData:
      case Kind::kClose:
        break;
    }
    steps_.push_back(std::move(step));
  }

  /** @returns the promise. From here on, this object owns itself */
  static napi_value begin(std::unique_ptr<FileSteps> steps, Napi::Env env) {
    napi_value promise = nullptr;
    const auto require = [env](napi_status status) {
      if (status != napi_ok) {
        throw Napi::Error::New(env);
      }
    };
    require(napi_create_promise(env, &steps->deferred_, &promise));
    require(napi_create_async_work(env, nullptr, Napi::String::New(env, "file-steps"), run, settle,
                                   steps.get(), &steps->work_));
    require(napi_queue_async_work(env, steps->work_));
    steps.release();  // NOLINT(bugprone-unused-return-value): `settle` frees it
    return promise;
  }

 private:
  /** On a thread of libuv's. */
  static void run(napi_env /*env*/, void* data) {
    auto& self = *static_cast<FileSteps*>(data);
    for (const Step& step : self.steps_) {
      self.current_ = step.kind;
      const bool isLate = Clock::now() >= self.end_ && step.kind != Kind::kClose;
      self.result_ = isLate ? static_cast<int>(UV_ETIMEDOUT) : self.carryOut(step);
      if (self.result_ != 0) {
        self.closeFile();
        return;
      }
    }
  }

  int carryOut(const Step& step) {
    const auto whole = [&](auto transfer) {
      for (size_t at = 0; at < step.bytes.size();) {
        const std::span<uint8_t> rest = step.bytes.subspan(at);
        const auto position = static_cast<off_t>(step.number + at);
        const ssize_t count = repeated([&] { return transfer(rest, position); });
        if (count < 0) {
          return -errno;
        }
        if (count == 0) {
          return static_cast<int>(UV_EOF);
        }
        at += static_cast<size_t>(count);
      }
      return 0;
    };
    switch (step.kind) {
      case Kind::kOpen:
        if (file_ >= 0) {
          return UV_EBADF;
        }
        file_ = repeated([&] {
          return open(step.path.c_str(), static_cast<int>(step.number) | O_CLOEXEC, kMode);
        });
        return file_ < 0 ? -errno : 0;
      case Kind::kRead:
        return whole([&](std::span<uint8_t> rest, off_t position) {
          return pread(file_, rest.data(), rest.size(), position);
        });
      case Kind::kWrite:
        return whole([&](std::span<uint8_t> rest, off_t position) {
          return pwrite(file_, rest.data(), rest.size(), position);
        });
      case Kind::kSyncData:
        return resultOf([&] { return fdatasync(file_); });
      case Kind::kClose:
        closeFile();
        return 0;
      case Kind::kRename:
        return resultOf([&] { return rename(step.path.c_str(), step.to.c_str()); });
      case Kind::kUnlink:
        return resultOf([&] { return unlink(step.path.c_str()); });
      case Kind::kSyncFolder:
        return syncFolder(step.path);
    }
    return UV_ENOSYS;
  }

  void closeFile() {
    // What had to be safe was synced before.
    if (file_ >= 0) {
      close(file_);
    }
    file_ = kNoFile;
  }

  /** Plain Node-API: where JavaScript is being terminated each call fails, and nobody waits. */
  static void settle(napi_env env, napi_status status, void* data) {
    const std::unique_ptr<FileSteps> self(static_cast<FileSteps*>(data));
    napi_delete_async_work(env, self->work_);
    const int result = status == napi_ok ? self->result_ : static_cast<int>(UV_ECANCELED);
    napi_value value = nullptr;
    if (result == 0) {
      const napi_status made = self->file_ == kNoFile ? napi_get_undefined(env, &value)
                                                      : napi_create_int32(env, self->file_, &value);
      if (made == napi_ok && napi_resolve_deferred(env, self->deferred_, value) == napi_ok) {
        self->file_ = kNoFile;  // it is TypeScript's now
      }
      return;
    }
    const auto textOf = [env](const char* text) {
      napi_value string = nullptr;
      napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &string);
      return string;
    };
    const auto* const step =
        std::ranges::find(kKinds, self->current_, &std::pair<std::string_view, Kind>::second);
    if (napi_create_error(env, textOf(uv_err_name(result)), textOf(uv_strerror(result)), &value) ==
            napi_ok &&
        napi_set_named_property(env, value, "step", textOf(step->first.data())) == napi_ok) {
      napi_reject_deferred(env, self->deferred_, value);
    }
  }

  int file_;
  const Clock::time_point end_;
  std::vector<Step> steps_;
  std::vector<Napi::ObjectReference> memory_;
  Kind current_ = Kind::kOpen;
  int result_ = 0;
  napi_deferred deferred_ = nullptr;
  napi_async_work work_ = nullptr;
};

}  // namespace

Napi::Function defineFileSteps(Napi::Env env) {
  const auto runFileSteps = [](const Napi::CallbackInfo& info) {
    const Napi::Array told = arrayOf(info[1], "steps");
    const auto file =
        info[0].IsUndefined() ? kNoFile : static_cast<int>(unsignedAt(info, 0, "file", kMaxInt));
    const std::chrono::milliseconds limit(unsignedAt(info, 2, "timeoutMs"));
    auto steps = std::make_unique<FileSteps>(file, Clock::now() + limit);
    for (uint32_t at = 0; at < told.Length(); ++at) {
      steps->add(arrayOf(told.Get(at), "a step"));
    }
    return Napi::Value(info.Env(), FileSteps::begin(std::move(steps), info.Env()));
  };
  return Napi::Function::New(env, runFileSteps, "runFileSteps");
}

}  // namespace cloudstore
