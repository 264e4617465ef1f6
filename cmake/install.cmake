# What `make install` and the packages hold: the program, the shared library,
# and what programs that use the library are built with.
include(CMakePackageConfigHelpers)
# Nobody builds tests to install: make install and make deb name what they need.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
set(made ${PROJECT_BINARY_DIR}/packaging)
set(INTARSIA_DEB_REVISION 1)

# Dates come from SOURCE_DATE_EPOCH where it is set, so that the same sources
# give the same bytes.
string(TIMESTAMP INTARSIA_SOURCE_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
string(TIMESTAMP day "%Y-%m-%d" UTC)
file(RELATIVE_PATH INTARSIA_PC_TO_PREFIX
     /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" INTARSIA_PC_TO_PREFIX ${INTARSIA_PC_TO_PREFIX})
configure_file(packaging/intarsia.pc.in ${made}/intarsia.pc @ONLY)
configure_file(packaging/changelog.in ${made}/changelog.Debian @ONLY)
configure_package_config_file(
  packaging/IntarsiaConfig.cmake.in ${made}/IntarsiaConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Intarsia)
write_basic_package_version_file(${made}/IntarsiaConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)

# The manual page and the completion are what the program says of itself.
add_custom_command(
  OUTPUT ${made}/intarsia.1.gz ${made}/completion.bash ${made}/changelog.gz
         ${made}/changelog.Debian.gz
  COMMAND ${PROJECT_SOURCE_DIR}/packaging/man_page.sh $<TARGET_FILE:intarsia>
          ${day} > ${made}/intarsia.1
  COMMAND gzip -9 -n -f ${made}/intarsia.1
  COMMAND gzip -9 -n -f -k ${made}/changelog.Debian
  COMMAND gzip -9 -n -c ${PROJECT_SOURCE_DIR}/CHANGELOG.md >
          ${made}/changelog.gz
  COMMAND $<TARGET_FILE:intarsia> completion > ${made}/completion.bash
  DEPENDS intarsia ${PROJECT_SOURCE_DIR}/packaging/man_page.sh
          ${PROJECT_SOURCE_DIR}/CHANGELOG.md ${made}/changelog.Debian
  VERBATIM)
add_custom_target(packaging_files ALL DEPENDS ${made}/intarsia.1.gz)

install(TARGETS intarsia COMPONENT program)
install(FILES ${made}/intarsia.1.gz TYPE MAN RENAME man1/intarsia.1.gz
        COMPONENT program)
install(FILES ${made}/completion.bash
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
        RENAME intarsia COMPONENT program)

install(TARGETS libintarsia EXPORT IntarsiaTargets
        LIBRARY COMPONENT library NAMELINK_COMPONENT development)
install(FILES include/intarsia/intarsia.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/intarsia COMPONENT development)
install(FILES ${made}/intarsia.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
install(EXPORT IntarsiaTargets NAMESPACE Intarsia::
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Intarsia
        COMPONENT development)
install(FILES ${made}/IntarsiaConfig.cmake ${made}/IntarsiaConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Intarsia
        COMPONENT development)
set(docs ${CMAKE_INSTALL_DATADIR}/doc)
install(FILES examples/hello.c DESTINATION ${docs}/libintarsia-dev/examples
        COMPONENT development)

# Each package says whose it is; the program's has the documents too.
set(program_package intarsia)
set(library_package libintarsia${INTARSIA_ABI})
set(development_package libintarsia-dev)
foreach(component program library development)
  install(FILES packaging/copyright ${made}/changelog.Debian.gz
          DESTINATION ${docs}/${${component}_package} COMPONENT ${component})
endforeach()
install(FILES README.md ${made}/changelog.gz DESTINATION ${docs}/intarsia
        COMPONENT program)

# make deb
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME intarsia)
set(CPACK_PACKAGE_VENDOR "Intarsia developers")
set(CPACK_PACKAGE_CONTACT "Intarsia developers <intarsia@example.org>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_OUTPUT_FILE_PREFIX ${PROJECT_BINARY_DIR}/packages)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program library development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${INTARSIA_DEB_REVISION})
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
# What depends on the library, and that the loader's cache is to be renewed.
file(WRITE ${made}/shlibs
     "libintarsia ${INTARSIA_ABI} ${library_package} (>= ${PROJECT_VERSION})\n")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA
    ${made}/shlibs ${PROJECT_SOURCE_DIR}/packaging/triggers)
foreach(component program library development)
  string(TOUPPER ${component} upper)
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${${component}_package})
  set(CPACK_DEBIAN_${upper}_PACKAGE_SHLIBDEPS ON)
endforeach()
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION science)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "${library_package} (= ${PROJECT_VERSION}-${INTARSIA_DEB_REVISION})")
# The first line is the synopsis; CPack indents the others.
set(about "Loads published and native checkpoints of sequence models (attention,
Mamba-2, retention, experts and others) and answers with them on the CPU.")
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION
    "engine for sequence models of every kind
${about}
.
This package holds the program: it fetches, runs, measures, converts and
quantises models.")
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION
    "engine for sequence models, shared library
${about}
.
This package holds the shared library.")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION
    "engine for sequence models, C header
${about}
.
This package holds what programs that use the library are built with.")
include(CPack)

if(INTARSIA_TESTS)
  add_test(NAME install_test
           COMMAND ${PROJECT_SOURCE_DIR}/tools/install_test.sh
                   ${PROJECT_BINARY_DIR})
  intarsia_lanes(install_test packaging_files LABELS ship)
  set_tests_properties(install_test PROPERTIES TIMEOUT 300)
endif()
