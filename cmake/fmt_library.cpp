// The parts of {fmt} that are not inline, compiled once for all files that format (cmake/Fmt.cmake). These
// are the templates for char that its header declares `extern`, and the shortest decimal of a floating-point
// number.
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {
template FMT_API auto dragonbox::to_decimal(float value) noexcept -> dragonbox::decimal_fp<float>;
template FMT_API auto dragonbox::to_decimal(double value) noexcept -> dragonbox::decimal_fp<double>;
template FMT_API auto thousands_sep_impl(locale_ref locale) -> thousands_sep_result<char>;
template FMT_API auto decimal_point_impl(locale_ref locale) -> char;
#if FMT_VERSION >= 100000 && FMT_VERSION < 110100
template FMT_API void vformat_to(buffer<char>& out, string_view text, vformat_args<>::type values,
                                 locale_ref locale);
#endif
}  // namespace detail
FMT_END_NAMESPACE
