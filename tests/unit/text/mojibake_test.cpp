// UTF-8 text that was read as another encoding, and correct text of many languages.
#include "text/mojibake.h"

#include <gtest/gtest.h>

#include <array>

namespace wan::text {
namespace {

struct Damaged {
  const char* encoding;
  const char* meant;
  const char* read;
};

// clang-format off
constexpr auto damaged = std::to_array<Damaged>({
    {"cp1250", "é", "Ă©"},
    {"cp1250", "café", "cafĂ©"},
    {"cp1250", "Zürich", "ZĂĽrich"},
    {"cp1250", "naïve façade", "naĂŻve faĂ§ade"},
    {"cp1250", "don’t stop", "donâ€™t stop"},
    {"cp1250", "привет мир", "ĐżŃ€Đ¸Đ˛ĐµŃ‚ ĐĽĐ¸Ń€"},
    {"cp1250", "中文猫", "ä¸\xc2\xad""ć–‡çŚ«"},
    {"cp1250", "Ελλάδα καλημέρα", "Î•Î»Î»Î¬Î´Î± ÎşÎ±Î»Î·ÎĽÎ\xc2\xad""Ď\xc2\x81""Î±"},
    {"cp1250", "Łódź żółw", "Ĺ\xc2\x81""ĂłdĹş ĹĽĂłĹ‚w"},
    {"cp1250", "Příliš žluťoučký kůň", "PĹ™Ă\xc2\xad""liĹˇ ĹľluĹĄouÄŤkĂ˝ kĹŻĹ\xc2\x88"""},
    {"cp1250", "Übergröße", "ĂśbergrĂ¶Ăźe"},
    {"cp1250", "🎬 film", "đźŽ¬ film"},
    {"cp1250", "“quoted”", "â€śquotedâ€ť"},
    {"cp1250", "señor", "seĂ±or"},
    {"cp1250", "Việt", "Viá»‡t"},
    {"cp1251", "é", "Г©"},
    {"cp1251", "café", "cafГ©"},
    {"cp1251", "Zürich", "ZГјrich"},
    {"cp1251", "naïve façade", "naГЇve faГ§ade"},
    {"cp1251", "don’t stop", "donвЂ™t stop"},
    {"cp1251", "привет мир", "РїСЂРёРІРµС‚ РјРёСЂ"},
    {"cp1251", "中文猫", "дё\xc2\xad""ж–‡зЊ«"},
    {"cp1251", "Ελλάδα καλημέρα", "О•О»О»О¬ОґО± ОєО±О»О·ОјО\xc2\xad""ПЃО±"},
    {"cp1251", "Łódź żółw", "ЕЃГіdЕє ЕјГіЕ‚w"},
    {"cp1251", "Příliš žluťoučký kůň", "PЕ™Г\xc2\xad""liЕЎ ЕѕluЕҐouДЌkГЅ kЕЇЕ€"},
    {"cp1251", "Übergröße", "ГњbergrГ¶Гџe"},
    {"cp1251", "🎬 film", "рџЋ¬ film"},
    {"cp1251", "“quoted”", "вЂњquotedвЂќ"},
    {"cp1251", "señor", "seГ±or"},
    {"cp1251", "Việt", "Viб»‡t"},
    {"cp1253", "é", "Γ©"},
    {"cp1253", "café", "cafΓ©"},
    {"cp1253", "Zürich", "ZΓΌrich"},
    {"cp1253", "naïve façade", "naΓ―ve faΓ§ade"},
    {"cp1253", "don’t stop", "donβ€™t stop"},
    {"cp1253", "привет мир", "ΠΏΡ€ΠΈΠ²ΠµΡ‚ ΠΌΠΈΡ€"},
    {"cp1253", "中文猫", "δΈ\xc2\xad""ζ–‡η\xc2\x8c""«"},
    {"cp1253", "Ελλάδα καλημέρα", "Ξ•Ξ»Ξ»Ξ¬Ξ΄Ξ± ΞΊΞ±Ξ»Ξ·ΞΌΞ\xc2\xad""Ο\xc2\x81""Ξ±"},
    {"cp1253", "Łódź żółw", "Ε\xc2\x81""Γ³dΕΊ ΕΌΓ³Ε‚w"},
    {"cp1253", "Příliš žluťoučký kůň", "PΕ™Γ\xc2\xad""liΕ΅ ΕΎluΕ¥ouΔ\xc2\x8d""kΓ½ kΕ―Ε\xc2\x88"""},
    {"cp1253", "Übergröße", "Γ\xc2\x9c""bergrΓ¶Γ\xc2\x9f""e"},
    {"cp1253", "🎬 film", "π\xc2\x9f""\xc2\x8e""¬ film"},
    {"cp1253", "“quoted”", "β€\xc2\x9c""quotedβ€\xc2\x9d"""},
    {"cp1253", "señor", "seΓ±or"},
    {"cp1253", "Việt", "Viα»‡t"},
    {"cp1254", "é", "Ã©"},
    {"cp1254", "café", "cafÃ©"},
    {"cp1254", "Zürich", "ZÃ¼rich"},
    {"cp1254", "naïve façade", "naÃ¯ve faÃ§ade"},
    {"cp1254", "don’t stop", "donâ€™t stop"},
    {"cp1254", "привет мир", "Ğ¿Ñ€Ğ¸Ğ²ĞµÑ‚ Ğ¼Ğ¸Ñ€"},
    {"cp1254", "中文猫", "ä¸\xc2\xad""æ–‡çŒ«"},
    {"cp1254", "Ελλάδα καλημέρα", "Î•Î»Î»Î¬Î´Î± ÎºÎ±Î»Î·Î¼Î\xc2\xad""Ï\xc2\x81""Î±"},
    {"cp1254", "Łódź żółw", "Å\xc2\x81""Ã³dÅº Å¼Ã³Å‚w"},
    {"cp1254", "Příliš žluťoučký kůň", "PÅ™Ã\xc2\xad""liÅ¡ Å¾luÅ¥ouÄ\xc2\x8d""kÃ½ kÅ¯Åˆ"},
    {"cp1254", "Übergröße", "ÃœbergrÃ¶ÃŸe"},
    {"cp1254", "🎬 film", "ğŸ\xc2\x8e""¬ film"},
    {"cp1254", "“quoted”", "â€œquotedâ€\xc2\x9d"""},
    {"cp1254", "señor", "seÃ±or"},
    {"cp1254", "Việt", "Viá»‡t"},
    {"cp1257", "é", "Ć©"},
    {"cp1257", "café", "cafĆ©"},
    {"cp1257", "Zürich", "ZĆ¼rich"},
    {"cp1257", "naïve façade", "naĆÆve faĆ§ade"},
    {"cp1257", "don’t stop", "donā€™t stop"},
    {"cp1257", "привет мир", "ŠæŃ€ŠøŠ²ŠµŃ‚ Š¼ŠøŃ€"},
    {"cp1257", "中文猫", "äø\xc2\xad""ę–‡ē\xc2\x8c""«"},
    {"cp1257", "Ελλάδα καλημέρα", "Ī•Ī»Ī»Ī¬Ī´Ī± ĪŗĪ±Ī»Ī·Ī¼Ī\xc2\xad""Ļ\xc2\x81""Ī±"},
    {"cp1257", "Łódź żółw", "Å\xc2\x81""Ć³dÅŗ Å¼Ć³Å‚w"},
    {"cp1257", "Příliš žluťoučký kůň", "PÅ™Ć\xc2\xad""liÅ¡ Å¾luÅ¥ouÄ¨kĆ½ kÅÆÅ\xc2\x88"""},
    {"cp1257", "Übergröße", "Ć\xc2\x9c""bergrĆ¶Ć\xc2\x9f""e"},
    {"cp1257", "🎬 film", "š\xc2\x9f""ˇ¬ film"},
    {"cp1257", "“quoted”", "ā€\xc2\x9c""quotedā€¯"},
    {"cp1257", "señor", "seĆ±or"},
    {"cp1257", "Việt", "Viį»‡t"},
    {"iso8859_2", "é", "ĂŠ"},
    {"iso8859_2", "café", "cafĂŠ"},
    {"iso8859_2", "Zürich", "ZĂźrich"},
    {"iso8859_2", "naïve façade", "naĂŻve faĂ§ade"},
    {"iso8859_2", "don’t stop", "donâ\xc2\x80""\xc2\x99""t stop"},
    {"iso8859_2", "привет мир", "ĐżŃ\xc2\x80""Đ¸Đ˛ĐľŃ\xc2\x82"" ĐźĐ¸Ń\xc2\x80"""},
    {"iso8859_2", "中文猫", "ä¸\xc2\xad""ć\xc2\x96""\xc2\x87""ç\xc2\x8c""Ť"},
    {"iso8859_2", "Ελλάδα καλημέρα", "Î\xc2\x95""ÎťÎťÎŹÎ´Îą ÎşÎąÎťÎˇÎźÎ\xc2\xad""Ď\xc2\x81""Îą"},
    {"iso8859_2", "Łódź żółw", "Ĺ\xc2\x81""ĂłdĹş ĹźĂłĹ\xc2\x82""w"},
    {"iso8859_2", "Příliš žluťoučký kůň", "PĹ\xc2\x99""Ă\xc2\xad""liĹĄ ĹžluĹĽouÄ\xc2\x8d""kĂ˝ kĹŻĹ\xc2\x88"""},
    {"iso8859_2", "Übergröße", "Ă\xc2\x9c""bergrĂśĂ\xc2\x9f""e"},
    {"iso8859_2", "🎬 film", "đ\xc2\x9f""\xc2\x8e""Ź film"},
    {"iso8859_2", "“quoted”", "â\xc2\x80""\xc2\x9c""quotedâ\xc2\x80""\xc2\x9d"""},
    {"iso8859_2", "señor", "seĂąor"},
    {"iso8859_2", "Việt", "Viáť\xc2\x87""t"},
    {"mac_roman", "é", "√©"},
    {"mac_roman", "café", "caf√©"},
    {"mac_roman", "Zürich", "Z√ºrich"},
    {"mac_roman", "naïve façade", "na√Øve fa√ßade"},
    {"mac_roman", "don’t stop", "don‚Äôt stop"},
    {"mac_roman", "привет мир", "–ø—Ä–∏–≤–µ—Ç –º–∏—Ä"},
    {"mac_roman", "中文猫", "‰∏≠ÊñáÁå´"},
    {"mac_roman", "Ελλάδα καλημέρα", "ŒïŒªŒªŒ¨Œ¥Œ± Œ∫Œ±ŒªŒ∑ŒºŒ≠œÅŒ±"},
    {"mac_roman", "Łódź żółw", "≈Å√≥d≈∫ ≈º√≥≈Çw"},
    {"mac_roman", "Příliš žluťoučký kůň", "P≈ô√≠li≈° ≈ælu≈•ouƒçk√Ω k≈Ø≈à"},
    {"mac_roman", "Übergröße", "√úbergr√∂√üe"},
    {"mac_roman", "🎬 film", "\uF8FFüé¨ film"},
    {"mac_roman", "“quoted”", "‚Äúquoted‚Äù"},
    {"mac_roman", "señor", "se√±or"},
    {"mac_roman", "Việt", "Vi·ªát"},
    {"cp437", "é", "├⌐"},
    {"cp437", "café", "caf├⌐"},
    {"cp437", "Zürich", "Z├╝rich"},
    {"cp437", "naïve façade", "na├»ve fa├ºade"},
    {"cp437", "don’t stop", "donΓÇÖt stop"},
    {"cp437", "привет мир", "╨┐╤Ç╨╕╨▓╨╡╤é ╨╝╨╕╤Ç"},
    {"cp437", "中文猫", "Σ╕¡µûçτî½"},
    {"cp437", "Ελλάδα καλημέρα", "╬ò╬╗╬╗╬¼╬┤╬▒ ╬║╬▒╬╗╬╖╬╝╬¡╧ü╬▒"},
    {"cp437", "Łódź żółw", "┼ü├│d┼║ ┼╝├│┼éw"},
    {"cp437", "Příliš žluťoučký kůň", "P┼Ö├¡li┼í ┼╛lu┼Ñou─ìk├╜ k┼»┼ê"},
    {"cp437", "Übergröße", "├£bergr├╢├ƒe"},
    {"cp437", "🎬 film", "≡ƒÄ¼ film"},
    {"cp437", "“quoted”", "ΓÇ£quotedΓÇ¥"},
    {"cp437", "señor", "se├▒or"},
    {"cp437", "Việt", "Viß╗çt"},
});
// clang-format on

TEST(Mojibake, IsFoundInEveryEncoding) {
  for (const Damaged& text : damaged) {
    EXPECT_TRUE(looks_like_mojibake(text.read))
        << text.meant << " read as " << text.encoding << ": " << text.read;
  }
  for (const Damaged& text : damaged) EXPECT_FALSE(looks_like_mojibake(text.meant)) << text.meant;
}

TEST(Mojibake, LanguagesAreLetPass) {
  // clang-format off
  for (const char* good :
       {
           "Её дочь идёт домой; Тёплый свет",
           "Ёлка",
           "Её",
           "Ні, її кіт… «Київ» — місто",
           "Її мої неї»",
           "Українська мова: Єдність і ґанок",
           "Њујорк ЈЕ ЂАК љубав Ћуприја",
           "Αθήνα: «Γεια σου» — Έλληνας Ώρα Όχι, Γ΄ τάξη, 5ος",
           "Úžasný západ slunce; Říše Áš Íš",
           "PODRÓŻ MĄDRĘ ŻÓŁW JAŹŃ",
           "Îşi face; FÂŞIE CÂŞTIG Ţară",
           "Ľúbim ťa, Ĺ",
           "Šiauliai Žąsis Ūkis",
           "Ærø Øre Åse ÆØÅ ÄÖÜ äöü ßÄ",
           "„école“ « été » l’été “état” «École» l’Équipe",
           "Ça où œuvre œil À É Êtes-vous",
           "¿Qué? ¡Sí! Ñandú ñ",
           "İstanbul’da Şişli ĞÜŞİ ığü",
           "ÄÖÜ „Äpfel“ ‚Öl‘ Größe",
           "café © 2024 ™ 5 € ½ ¼ 20 °C 3 µm ±2",
           "│ ├── └── ─ ═ ╔╗",
           "√π ∑ ∞ ≤ Ω ∂x",
           "日本語、カメラ「猫」",
           "中文，测试。",
           "한국어",
           "مرحبا بالعالم",
           "שלום עולם",
           "हिन्दी",
           "ไทย",
           "Tiếng Việt phở Đà Nẵng Ẩm thực",
           "Příliš žluťoučký kůň úpěl ďábelské ódy",
           "Zażółć gęślą jaźń",
           "Árvíztűrő tükörfúrógép ÁRVÍZTŰRŐ TÜKÖRFÚRÓGÉP",
           "Стоимость 100 ₽ №5 «Москва» §3",
           "ÂÊÎÔÛ âêîôû ÃÕ ãõ São João AÇÃO",
           "À L’ŒUVRE «ÇA»",
       }) {
    EXPECT_FALSE(looks_like_mojibake(good)) << good;
  }
  // clang-format on
}

}  // namespace
}  // namespace wan::text
