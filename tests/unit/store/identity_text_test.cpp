// The texts of an identity: differences for the user, and marks in file names.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "store/identity.h"

namespace wan::store {
namespace {

using nlohmann::json;

TEST(IdentityTexts, TheDifferenceOfLongTextsIsShown) {
  Parameters wanted;
  wanted.request.prompt = std::string(300, 'x') + " at night";
  json recorded = json::parse(dump(to_json(wanted)));
  recorded["prompt"] = std::string(300, 'x') + " by day";
  EXPECT_EQ(describe(differences(recorded, wanted)),
            "prompt: ...'xxxxxxxxxxxxxxxxxxx by day', now ...'xxxxxxxxxxxxxxxxxxx at night'");
  recorded = json::parse(dump(to_json(wanted)));
  for (const char* name : {"crf", "fps", "frame_num", "sample_steps"}) recorded[name] = 999;
  EXPECT_EQ(describe(differences(recorded, wanted)),
            "crf: 999, now 10; fps: 999, now 16; frame_num: 999, now 0; and 1 more");
  for (const json& odd : {json(5), json::array(), json{{"weights", 1}, {"prompt", json::array()}}})
    EXPECT_FALSE(differences(odd, wanted).empty());
}

TEST(IdentityTexts, MarksTellRequestsApart) {
  Parameters one;
  one.request.id = "a";
  one.request.seed = 5;
  Parameters other = one;
  EXPECT_TRUE(is_same_request(request_mark(one), request_mark(other)));
  other.request.image = "/elsewhere/x.png";
  one.request.image = "here/x.png";
  EXPECT_TRUE(is_same_request(request_mark(one), request_mark(other)));
  other.request.seed = 6;
  EXPECT_FALSE(is_same_request(request_mark(one), request_mark(other)));
  other.automatic_seed = true;
  EXPECT_TRUE(is_same_request(request_mark(one), request_mark(other))) << "takes any seed";
  EXPECT_FALSE(is_same_request(request_mark(other), request_mark(one)));
  other.model.weights = "w";
  EXPECT_FALSE(is_same_request(request_mark(one), request_mark(other)));
  EXPECT_TRUE(is_same_request("", request_mark(one)));
  EXPECT_LE(request_mark(one).size(), 48U);
  one.model.precision = "bf16";
  other = one;
  other.model.precision = "exact";
  EXPECT_EQ(request_mark(one), request_mark(other)) << "a claim of version 0.2.0";
}

}  // namespace
}  // namespace wan::store
