"""The documents of this checkout, and the checker itself on made-up trees."""

import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from check_docs import Checker, NoCheckoutError, anchors, numbered_headings, slug, tracked_files  # noqa: E402  (needs the path)

PROJECT = Path(__file__).resolve().parents[2]
MODEL = "# The model\n\n## 5. Transformer\n\n### 5.6 Block\n\n### 5.9 Where numbers are rounded\n"
LEAST_CITATIONS = 90  # so that a checker that finds none does not pass


class ThisCheckout(unittest.TestCase):
    def test_links_and_citations(self):
        try:
            checker = Checker(PROJECT, tracked_files(PROJECT))
        except NoCheckoutError as reason:
            self.skipTest(str(reason))
        problems = checker.problems()
        self.assertFalse(problems, "\n" + "\n".join(problems))
        self.assertGreaterEqual(checker.citations, LEAST_CITATIONS)
        self.assertGreater(checker.links, 0)


    def test_figures_are_those_of_their_script(self):
        figures = PROJECT / "docs" / "figures"
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-B", figures / "make_figures.py", folder], check=True)
            drawn = sorted(Path(folder).iterdir())
            self.assertTrue(drawn)
            for file in drawn:
                self.assertEqual((figures / file.name).read_text(encoding="utf-8"), file.read_text(encoding="utf-8"),
                                 f"docs/figures/{file.name} is not up to date: run docs/figures/make_figures.py")

    def test_rooms_and_figures_of_the_architecture(self):
        script = PROJECT / "docs" / "figures" / "make_architecture_figures.py"
        done = subprocess.run([sys.executable, "-B", script, "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_user_guide_names_every_option(self):
        (table,) = PROJECT.glob("src/*/option_table.cpp")
        groups = "input|sampling|output|machine|running|general"
        names = re.findall(rf'^    {{(?:{groups}), "([a-z0-9-]+)"', table.read_text(encoding="utf-8"), re.MULTILINE)
        self.assertGreater(len(names), 40)
        guide = (PROJECT / "docs" / "user-guide.md").read_text(encoding="utf-8")
        self.assertEqual([name for name in names if not re.search(rf"--{name}(?![a-z-])", guide)], [])

    def test_files_that_documents_name_are_there(self):
        """In code quotes: paths from the project's root, and those of sources below src/."""
        pages = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "slurm/README.md", "analysis/README.md", "tests/README.md")]
        rooms = "|".join(path.parent.name for path in PROJECT.glob("src/*/CMakeLists.txt"))
        from_root = re.compile(r"(?:src|include|tests|cmake|jobs|slurm|analysis|inputs|docs)/[\w./-]+")
        from_src = re.compile(rf"(?:{rooms})/[\w/]+\.(?:h|cpp|cu)")
        named, gone = 0, []
        for page in [*pages, *PROJECT.glob("docs/**/*.md")]:
            for words in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
                path = words.split()[0]
                if re.search(r"NAME|ROOM", path) or not (from_root.fullmatch(path) or from_src.fullmatch(path)):
                    continue
                named += 1
                if not (PROJECT / path).exists() and not (PROJECT / "src" / path).exists():
                    gone.append(f"{page.relative_to(PROJECT)}: `{path}`")
        self.assertGreater(named, 100)
        self.assertEqual(gone, [])

    def test_the_table_of_files_of_the_analysis_is_complete(self):
        page = (PROJECT / "analysis" / "README.md").read_text(encoding="utf-8")
        modules = [path.name for path in PROJECT.glob("analysis/wan_analysis/[a-z]*.py")]
        self.assertGreater(len(modules), 80)
        self.assertEqual([name for name in modules if f"{name}`" not in page], [])

    def test_the_settings_of_the_slurm_scripts_are_described(self):
        page = (PROJECT / "slurm" / "README.md").read_text(encoding="utf-8")
        names = re.search(r"wan_names=\((.*?)\n\)", (PROJECT / "slurm/lib/names.sh").read_text(encoding="utf-8"), re.DOTALL)[1]
        known = {word for line in names.split("\n") for word in line.split("#")[0].split()}
        self.assertGreater(len(known), 20)
        self.assertEqual(known, set(re.findall(r"\bWAN_[A-Z_]*[A-Z]\b", page)))

    def test_the_table_of_tests_names_every_label(self):
        labels = set()
        for path in [*PROJECT.glob("tests/**/CMakeLists.txt"), PROJECT / "tests" / "WanTest.cmake"]:
            for words in re.findall(r'^[^#\n]*LABELS "?([a-z;]+)', path.read_text(encoding="utf-8"), re.MULTILINE):
                labels.update(filter(None, words.split(";")))
        self.assertGreater(len(labels), 8)
        table = (PROJECT / "tests" / "README.md").read_text(encoding="utf-8")
        self.assertEqual([label for label in sorted(labels) if f"\n| `{label}` |" not in table], [])


class MadeUpTree(unittest.TestCase):
    def problems(self, files, untracked=()):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in {"docs/model.md": MODEL, **files}.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            return Checker(root, sorted({"docs/model.md", *files} - set(untracked))).problems()

    def one_problem(self, files, *words, untracked=()):
        found = self.problems(files, untracked)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_good_links_and_citations_are_no_problem(self):
        good = """# Read me
[model](docs/model.md), [a heading](docs/model.md#59-where-numbers-are-rounded "title"), [here](#read-me), [folder](docs/),
[line](src/a.h#L1-L2), [elsewhere](https://example.org/no#where), ![picture](<docs/a b.svg>), [encoded](docs/a%20b.svg),
[by name][name], <a href="docs/model.md#56-block">block</a>, [model.md 5.6](docs/model.md#56-block), `[code](none.md)`

```
[code](none.md)
```

[name]: docs/model.md
"""
        code = "/// A block (model.md 5.6), (model.md\n/// 5.9).\nint a;  // JSON specification (RFC 8259), section 5.6\n"
        self.assertEqual(self.problems({"README.md": good, "docs/a b.svg": "", "src/a.h": code, "docs/up.md": "[u](../README.md)"}), [])

    def test_a_link_to_nothing(self):
        self.one_problem({"README.md": "text\n[gone](docs/gone.md)\n"}, "README.md:2: ", "docs/gone.md", "is not there")

    def test_a_picture_that_is_not_there(self):
        self.one_problem({"docs/a.md": "![picture](figures/none.svg)"}, "docs/a.md:1: ", "docs/figures/none.svg")

    def test_a_link_in_html(self):
        self.one_problem({"README.md": '<img alt="x" src="none.svg">'}, "README.md:1: ", "none.svg")

    def test_a_link_by_name(self):
        self.one_problem({"README.md": "[x][y]\n\n[y]: none.md\n"}, "README.md:3: ", "none.md")

    def test_a_file_that_git_does_not_track(self):
        files = {"README.md": "[new](docs/new.md)", "docs/new.md": ""}
        self.one_problem(files, "README.md:1: ", "git add it", untracked=["docs/new.md"])

    def test_a_heading_that_is_not_there(self):
        self.one_problem({"README.md": "[x](docs/model.md#57-head)"}, "README.md:1: ", "#57-head")
        self.one_problem({"README.md": "# Top\n[x](#bottom)"}, "README.md:2: ", "#bottom")

    def test_a_line_that_is_not_there(self):
        self.one_problem({"README.md": "[x](a.h#L3)", "a.h": "1\n2\n"}, "README.md:1: ", "#L3")

    def test_a_link_out_of_the_repository(self):
        self.one_problem({"README.md": "[x](../other/a.md)"}, "README.md:1: ", "out of the repository")

    def test_a_citation_of_no_section(self):
        self.one_problem({"a.h": "/// A layer.\n/// Its head (model.md 5.8).\n"}, "a.h:2: ", "no section 5.8")
        self.one_problem({"a.md": "as model.md 5.8 says"}, "a.md:1: ", "no section 5.8")

    def test_a_citation_in_another_spelling(self):
        for comment in ("(model.md, 5.6)", "(see model.md 5.6)", "model.md 5.6", "(model.md section 5.6)", "(model.md 5)",
                        "(model.md 5.6, 5.9)"):
            self.one_problem({"a.py": f"# A block {comment}\n"}, "a.py:1: ", "not spelled")

    def test_the_outside_document_is_not_cited(self):
        for comment in ("(spec 5.6)", "(spec section 5)", "spec, 5.6", "// (spec\n// 5.6)", "(Specification 5.6)", "of the specification",
                        "the spec says", "AsInTheSpec", "\N{SECTION SIGN} 5.6", "wan22_i2v.md"):
            self.one_problem({"a.cpp": f"// Block {comment}\n"}, "a.cpp:1: ", "not in the repository")

    def test_a_section_that_is_there_twice(self):
        self.one_problem({"docs/model.md": MODEL + "### 5.6 Block again\n"}, "docs/model.md", "5.6 is there twice")


class TrackedFiles(unittest.TestCase):
    def test_only_files_that_git_tracks_and_that_are_there(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            with self.assertRaises(NoCheckoutError):
                tracked_files(root)
            (root / "sub").mkdir()
            for name in ("a.md", "gone.md", "sub/größe.md", "untracked.md"):
                (root / name).write_text("")
            subprocess.run(["git", "init", "-q", root], check=True)
            subprocess.run(["git", "-C", root, "add", "a.md", "gone.md", "sub"], check=True)
            (root / "gone.md").unlink()
            self.assertEqual(tracked_files(root), ["a.md", "sub/größe.md"])


class Headings(unittest.TestCase):
    def test_anchors_are_those_of_github(self):
        self.assertEqual(slug("5.6 The block, `x += y`"), "56-the-block-x--y")
        self.assertEqual(slug("[A link](a.md) and *more*_x"), "a-link-and-more_x")
        self.assertEqual(slug("Größe 480p — klein"), "größe-480p--klein")
        self.assertEqual(anchors("# A\n# A\n```\n# B\n```\n<a id='c'></a>\n"), {"a", "a-1", "c"})

    def test_numbers_of_headings(self):
        self.assertEqual(numbered_headings("## 5. X\n### 5.6 Y\n### 5.10 Z\n```\n### 5.11 code\n```\n5.12 text\n"), ["5.6", "5.10"])


if __name__ == "__main__":
    unittest.main()
