// SPDX-License-Identifier: GPL-3.0-or-later
#include "lanes.h"

#include <algorithm>
#include <utility>

#include "node_instance.h"

namespace cloudstore {

Lane::Lane(Lanes& lanes, size_t laneIndex)
    : index(laneIndex),
      caller([&orthanc = lanes.orthanc()] { orthanc.nameThread("STORAGE-CALLS"); }),
      supervisor(bridge,
                 {[this, &lanes](bool restarted) {
                    return std::make_unique<NodeInstance>(lanes, *this, restarted);
                  },
                  [&orthanc = lanes.orthanc()](const std::string& message) {
                    orthanc.log(OrthancPluginLogLevel_Error, message);
                  },
                  [&orthanc = lanes.orthanc()](const char* name) { orthanc.nameThread(name); }}) {}

Lanes::Lanes(const OrthancContext& orthanc, JobTable& jobs) : orthanc_(orthanc), jobs_(jobs) {
  lanes_.push_back(std::make_unique<Lane>(*this, 0));
}

Supervisor::Started Lanes::start(std::chrono::milliseconds timeout) {
  lanes_.front()->supervisor.start(timeout);
  Supervisor::Started first = lanes_.front()->supervisor.awaitStart();
  if (!first.settings) {
    return first;
  }
  for (size_t index = 1; index < first.settings->lanes; ++index) {
    lanes_.push_back(std::make_unique<Lane>(*this, index));
    lanes_.back()->supervisor.start(timeout);
  }
  for (const auto& lane : lanes_) {
    Supervisor::Started started = lane->supervisor.awaitStart();
    if (!started.settings) {
      return started;
    }
  }
  return first;
}

void Lanes::failCallsAfter(std::chrono::milliseconds grace) {
  for (const auto& lane : lanes_) {
    lane->supervisor.failCallsAfter(grace);
  }
}

void Lanes::closeCalls() {
  for (const auto& lane : lanes_) {
    lane->caller.close();
  }
}

bool Lanes::stop(std::chrono::milliseconds callGrace) {
  closeCalls();
  for (const auto& lane : lanes_) {
    lane->supervisor.stop();
  }
  bool ended = true;
  for (const auto& lane : lanes_) {
    ended = lane->supervisor.awaitStop() && ended;
  }
  // Then, since a question under way may wait for a request of ours, which ends with the loop.
  const auto deadline = std::chrono::steady_clock::now() + callGrace;
  for (const auto& lane : lanes_) {
    ended = lane->caller.awaitStop(deadline) && ended;
  }
  return ended;
}

Bridge& Lanes::leastBusy() {
  if (lanes_.size() == 1) {
    return first();
  }
  const auto least =
      std::ranges::min_element(lanes_, {}, [](const auto& lane) { return lane->bridge.load(); });
  return (*least)->bridge;
}

void Lanes::ask(size_t index, const std::string& name, Bridge& asker, uint64_t ticket) {
  Lane& lane = *lanes_.at(index);
  // By the thread of the lane that is asked, so that one which hangs holds up nothing else.
  lane.caller.submit({&asker, ticket, [&lane, name] {
                        const auto call =
                            std::make_shared<Call>(&Timeouts::lane, name, "", nullptr, 0);
                        const Result result = lane.bridge.call(call);
                        return result.verdict == Result::Verdict::kSuccess
                                   ? call->answer()
                                   : Answer{503, {}, result.message};
                      }});
}

}  // namespace cloudstore
