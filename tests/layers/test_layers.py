"""The rooms of this checkout, and the checker itself on made-up trees."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from check_layers import PROJECT, Rooms  # noqa: E402  (needs the path)

TABLE = 'set(WAN_MAY_USE_low "")\nset(WAN_MAY_USE_middle low)\nset(WAN_MAY_USE_high low middle)\n'
FILES = {
    "cmake/Layers.cmake": TABLE,
    "src/low/CMakeLists.txt": "wan_add_layer(low SOURCES a.cpp)\n",
    "src/low/a.h": "#pragma once\n",
    "src/middle/CMakeLists.txt": "wan_add_layer(middle\n  SOURCES b.cpp\n  USES low\n  LIBRARIES x)\n",
    "src/middle/b.h": '#include "low/a.h"\n',
    "src/high/CMakeLists.txt": "wan_add_layer(high SOURCES c.cpp USES low middle)\n",
    "src/high/c.cpp": '#include "low/a.h"\n#include "middle/b.h"\n',
}


class ThisCheckout(unittest.TestCase):
    def test_rooms(self):
        rooms = Rooms(PROJECT)
        self.assertGreater(len(rooms.files), 400)
        self.assertEqual(rooms.problems(), [])


class MadeUp(unittest.TestCase):
    def problems(self, **changes) -> str:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {**FILES, **changes.get("files", {})}.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return "\n".join(Rooms(Path(folder)).problems())

    def test_good(self):
        self.assertEqual(self.problems(), "")

    def test_an_include_that_the_table_forbids(self):
        found = self.problems(files={"src/middle/b.h": '#include "low/a.h"\n  #  include "high/c.h"\n'})
        self.assertIn("src/middle/b.h includes src/high, which cmake/Layers.cmake does not allow for src/middle", found)
        self.assertIn("a cycle: high -> middle -> high", found)

    def test_a_permission_and_a_link_that_nothing_uses(self):
        found = self.problems(files={"src/high/c.cpp": '#include "middle/b.h"\n'})
        self.assertIn("cmake/Layers.cmake allows src/high to use src/low, but no file there includes it", found)
        self.assertIn("src/high/CMakeLists.txt links src/low, but no file there includes it", found)

    def test_folders_and_rows(self):
        found = self.problems(files={"src/new/d.cpp": "", "cmake/Layers.cmake": TABLE + "set(WAN_MAY_USE_old low)\n"})
        self.assertIn("names 'old', but there is no folder src/old", found)
        self.assertIn("src/new has no row in cmake/Layers.cmake", found)

    def test_sizes(self):
        found = self.problems(files={"src/low/a.h": "\n" * 401})
        self.assertIn("src/low/a.h has 401 lines; the limit is 400", found)
        rooms = {f"src/room{i}/a.cpp": "\n" * (60 if i == 0 else 10) for i in range(9)}
        table = "".join(f'set(WAN_MAY_USE_room{i} "")\n' for i in range(9))
        found = self.problems(files={**rooms, "cmake/Layers.cmake": TABLE + table})
        self.assertIn("src/room0 is 41.7% of the code; the limit is 12%", found)

    def test_options_in_messages_of_libraries(self):
        found = self.problems(files={"src/low/a.h": '// "--comment"\nf("choose \\"another\\" with --output-dir", "a--b");\n'})
        self.assertEqual(found, "src/low/a.h:2 names --output-dir; src/low must name the setting, apps and launch the option")
        table = TABLE + 'set(WAN_MAY_USE_apps "")\nset(WAN_MAY_USE_doctor "")\n'
        of_others = {"src/apps/a.cpp": 'f("--output-dir");\n', "src/doctor/a.cpp": 'f("srun --mpi=pmix");\n', "cmake/Layers.cmake": table}
        self.assertEqual(self.problems(files=of_others), "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
