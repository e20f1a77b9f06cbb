// Brings into libwan.so what include/wan declares and nothing in the library itself calls.
#include "wan/version.h"

namespace wan {
namespace {

[[maybe_unused, gnu::used]] std::string (*const version_function)() = version;

}  // namespace
}  // namespace wan
