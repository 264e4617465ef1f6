#include "intarsia/core/fuzz/replay.h"

#include "intarsia/hub/fuzz/targets.h"

namespace intarsia {
namespace {

const std::string kCorpus = "intarsia/hub/fuzz/corpus/";

TEST(FuzzReplay, HubListing) {
  ReplayFuzzCorpus(kCorpus + "hub_listing", FuzzHubListing,
                   "{}[]\",:/.\\-_0123456789abcdefQK");
}

TEST(FuzzReplay, HubReference) {
  ReplayFuzzCorpus(kCorpus + "hub_reference", FuzzHubReference, "hf:/@.-_aQ4K");
}

TEST(FuzzReplay, HttpHeaders) {
  ReplayFuzzCorpus(kCorpus + "http_headers", FuzzHttpHeaders,
                   ":\r\n \"/-*0123456789W");
}

}  // namespace
}  // namespace intarsia
