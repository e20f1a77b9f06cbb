#include <dlfcn.h>
#include <gtest/gtest.h>

#include <memory>

namespace {

TEST(LinkOrder, SentencepieceKeepsItsFlagsBesideLibTorch) {
  // Both libraries export the name, with objects of different sizes (src/text/CMakeLists.txt).
  const std::unique_ptr<void, int (*)(void*)> library(dlopen("libsentencepiece.so.0", RTLD_NOW | RTLD_NOLOAD),
                                                      dlclose);
  if (library == nullptr)
    GTEST_SKIP() << "no libsentencepiece.so.0 is loaded: another version, or a static one";
  void* const own = dlsym(library.get(), "FLAGS_minloglevel");
  if (own == nullptr) GTEST_SKIP() << "this version of sentencepiece exports no such name";
  EXPECT_EQ(dlsym(RTLD_DEFAULT, "FLAGS_minloglevel"), own);
}

}  // namespace
