# Writes the sources' revision to HEADER: cmake -DSOURCE=dir -DHEADER=file -P Revision.cmake. Leaves the file alone if it says the same.
set(revision unknown)
find_program(git git)
if(git)
  execute_process(COMMAND ${git} -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=*
                  OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(revision ${described})
  endif()
endif()
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#pragma once\n#define WAN_REVISION \"${revision}\"\n")
