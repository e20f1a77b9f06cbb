"""How sentences begin in the comments of this checkout, and the checker itself on made-up files."""

import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from check_docs import NoCheckoutError, tracked_files  # noqa: E402  (needs the path)
from check_english import check, problems_of, texts_of  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
LEAST_PARAGRAPHS = 1000  # so that a checker that finds no comments does not pass


class ThisCheckout(unittest.TestCase):
    def test_sentences_begin_with_their_subject(self):
        try:
            files = list(tracked_files(PROJECT))
        except NoCheckoutError as reason:
            self.skipTest(str(reason))
        problems = check(PROJECT, files)
        self.assertFalse(problems, "\n" + "\n".join(problems))
        texts = ((name, (PROJECT / name).read_text(encoding="utf-8")) for name in files if name.startswith("src/"))
        self.assertGreater(sum(len(list(texts_of(name, text))) for name, text in texts), LEAST_PARAGRAPHS)


class MadeUpFiles(unittest.TestCase):
    def lines(self, name, text):
        return [int(problem.split(":")[1]) for problem in problems_of(name, text)]

    def test_cpp_comments(self):
        self.assertEqual(self.lines("a.cpp", "/// What a rank has.\nint a;  // one more\n\n// Good.\n// Bytes. Of all ranks.\n"), [1, 4])
        self.assertEqual(self.lines("a.h", "/* A thing.\n   Those of it. */\n"), [1])
        self.assertEqual(self.lines("a.cu", "///< To be called first.\n"), [1])

    def test_literals_are_not_comments(self):
        self.assertEqual(self.lines("a.cpp", 'auto a = "// What", b = R"x(\n// Of it\n)x";\nint c = 1\'000;  // Those two\n'), [4])

    def test_middle_words_and_longer_words_are_fine(self):
        self.assertEqual(self.lines("a.cpp", "// It is what it is. Often it is. Whatever happens, it stays.\n// Made of\n// What\n"), [])

    def test_python_comments_and_docstrings(self):
        text = '"""What it does."""\n\n\ndef f():\n    """Good.\n\n    Of two.\n    """\n    # Those.\n    return "What now"\n'
        self.assertEqual(sorted(self.lines("a.py", text)), [1, 7, 9])

    def test_hash_comments(self):
        self.assertEqual(self.lines("a.sh", "#!/bin/bash\n# Of it.\necho '# no' # What\n"), [2])
        self.assertEqual(self.lines("CMakeLists.txt", "# What is linked.\n"), [1])
        self.assertEqual(self.lines("a.txt", "# What is linked.\n"), [])


if __name__ == "__main__":
    unittest.main()
