// SPDX-License-Identifier: GPL-3.0-or-later
#include "lanes.h"

#include <algorithm>
#include <future>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>

#include "node_instance.h"
#include "node_process.h"
#include "signal_shield.h"

namespace cloudstore {
namespace {

LogLevel levelOf(Supervisor::Severity severity) {
  switch (severity) {
    case Supervisor::Severity::kError:
      return LogLevel::kError;
    case Supervisor::Severity::kWarning:
      return LogLevel::kWarning;
    case Supervisor::Severity::kInfo:
      break;
  }
  return LogLevel::kInfo;
}

/** Each of the items on a thread of its own, or one after another on this thread where there is
 * none to be had, or one item only. @returns what `work` gave, in their order */
template <typename Items, typename Work>
auto sideBySide(Items begin, Items end, Work work) {
  using Outcome = decltype(work(**begin));
  const bool isOne = std::distance(begin, end) == 1;
  std::vector<std::future<Outcome>> pending;
  {
    const SignalShield shield;
    std::transform(begin, end, std::back_inserter(pending), [&work, isOne](const auto& item) {
      const auto task = [&work, &item] { return work(*item); };
      if (!isOne) {
        try {
          return std::async(std::launch::async, task);
        } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch): see above
        }
      }
      return std::async(std::launch::deferred, task);
    });
  }
  std::vector<Outcome> outcomes;
  std::transform(pending.begin(), pending.end(), std::back_inserter(outcomes),
                 [](auto& outcome) { return outcome.get(); });
  return outcomes;
}

}  // namespace

Lane::Lane(const OrthancContext& orthanc, JobTable& jobs, Lanes& lanes, size_t index)
    : caller(bridge, [&orthanc] { orthanc.nameThread("STORAGE-CALLS"); }),
      supervisor(
          bridge,
          [this, &orthanc, &jobs, &lanes, index](RuntimeEvents& events,
                                                 bool restarted) -> std::unique_ptr<Runtime> {
            orthanc.nameThread("STORAGE-WATCH");
            return std::make_unique<NodeInstance>(
                NodeInstance::Surroundings{NodeProcess::instance(), orthanc, bridge, caller, jobs,
                                           lanes, index, events, restarted});
          },
          [&orthanc](Supervisor::Severity severity, const std::string& message) {
            orthanc.log(levelOf(severity), message);
          }) {}

Lanes::Lanes(const OrthancContext& orthanc, JobTable& jobs) : orthanc_(orthanc), jobs_(jobs) {
  lanes_.push_back(std::make_unique<Lane>(orthanc_, jobs_, *this, 0));
}

Supervisor::Started Lanes::start(std::chrono::milliseconds timeout) {
  Supervisor::Started first = lanes_.front()->supervisor.start(timeout);
  if (!first.settings) {
    return first;
  }
  for (size_t index = 1; index < first.settings->lanes; ++index) {
    lanes_.push_back(std::make_unique<Lane>(orthanc_, jobs_, *this, index));
  }
  for (Supervisor::Started& other :
       sideBySide(lanes_.begin() + 1, lanes_.end(),
                  [timeout](Lane& lane) { return lane.supervisor.start(timeout); })) {
    if (!other.settings) {
      return std::move(other);
    }
  }
  return first;
}

void Lanes::hurry(std::chrono::milliseconds grace) {
  for (const auto& lane : lanes_) {
    lane->supervisor.hurry(grace);
  }
}

void Lanes::closeCalls() {
  for (const auto& lane : lanes_) {
    lane->caller.close();
  }
}

bool Lanes::stop(std::chrono::milliseconds callGrace) {
  closeCalls();
  const std::vector<bool> ended = sideBySide(lanes_.begin(), lanes_.end(), [callGrace](Lane& lane) {
    // In this order: a call under way may wait for a request of ours, which ends with the loop.
    const bool loopEnded = lane.supervisor.stop();
    return lane.caller.stop(callGrace) && loopEnded;
  });
  return std::ranges::all_of(ended, [](bool one) { return one; });
}

Bridge& Lanes::leastBusy() {
  if (lanes_.size() == 1) {
    return first();
  }
  const auto least =
      std::ranges::min_element(lanes_, {}, [](const auto& lane) { return lane->bridge.load(); });
  return (*least)->bridge;
}

void Lanes::send(size_t index, LaneMessage message) {
  lanes_.at(index)->bridge.post(std::move(message));
}

}  // namespace cloudstore
