#include "intarsia/engine/stop_filter.h"

#include <gtest/gtest.h>

namespace intarsia {
namespace {

TEST(StopFilterTest, HoldsBackWhatCouldStop) {
  StopFilter filter({"STOP", "###"});
  EXPECT_EQ(filter.Push("one ST"), "one ");
  EXPECT_EQ(filter.Push("ART #"), "START ");
  EXPECT_EQ(filter.Push("# two S"), "## two ");
  EXPECT_EQ(filter.Push("TOP gone"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.Push("more"), "");
  StopFilter open({"END"});
  EXPECT_EQ(open.Push("the EN"), "the ");
  EXPECT_EQ(open.Finish(), "EN");
}

}  // namespace
}  // namespace intarsia
