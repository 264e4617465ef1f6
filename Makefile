# The two commands of the project are `make run` and `make test`.
# MODEL=name and PROMPT="..." change what `make run` answers.
MODEL ?= smollm2-135m
PROMPT ?= Explain in two sentences why the sky is blue.
JOBS ?= $(shell nproc)
BINARY = build/release/intarsia

.PHONY: run test build deps test-long test-unit test-tsan fuzz cuda cuda-full \
        coverage test-gpu test-published-vocabularies test-published-templates lint format clean help

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

run: build       ## install what is missing, build, fetch a model, answer
	@tools/run.sh "$(BINARY)" "$(MODEL)" "$(PROMPT)"

deps:            ## install the packages that the build needs (asks first)
	@tools/install_deps.sh

build: deps      ## build/release/intarsia
	cmake --preset release >/dev/null
	cmake --build --preset release --target intarsia -- -j$(JOBS)

# Where `make install` puts things: PREFIX below DESTDIR.
PREFIX ?= /usr/local
DESTDIR ?=
PACKAGED = intarsia libintarsia packaging_files
# What is made of a commit bears its date.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || \
                       stat -c %Y CHANGELOG.md)

.PHONY: install uninstall deb dist reproducible

install: deps    ## the program, libintarsia, header, manual: PREFIX, DESTDIR
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) cmake --preset release \
	  -DCMAKE_INSTALL_PREFIX="$(PREFIX)" >/dev/null
	cmake --build --preset release --target $(PACKAGED) -- -j$(JOBS)
	DESTDIR="$(DESTDIR)" cmake --install build/release --strip >/dev/null
	[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig

uninstall:       ## what the last `make install` of this tree put there
	@sed 's|^|$(DESTDIR)|' build/release/install_manifest.txt | \
	  tr '\n' '\0' | xargs -0 rm -fv

deb: deps        ## build/release/packages/*.deb: program, library, -dev
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) cmake --preset release \
	  -DCMAKE_INSTALL_PREFIX=/usr >/dev/null
	cmake --build --preset release --target $(PACKAGED) -- -j$(JOBS)
	cd build/release && SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) cpack >/dev/null
	@ls build/release/packages/*.deb

dist:            ## build/intarsia-VERSION.tar.gz of the last commit
	@tools/dist.sh

reproducible:    ## two builds of that tarball, compared (twice a clean build)
	@tools/reproducible.sh

test:            ## build and pass every test
	@tools/install_deps.sh test
	tools/test.sh

test-long:       ## the same, with long tests and ten minutes of each fuzzer
	INTARSIA_LONG=1 tools/test.sh

test-unit:       ## the tests of single folders under AddressSanitizer and UBSan
	STEPS=unit tools/test.sh

test-tsan:       ## what shares data between threads, under ThreadSanitizer
	STEPS=tsan tools/test.sh

fuzz:            ## build the fuzz targets with clang (build/fuzz)
	cmake --preset fuzz
	ninja -C build/fuzz -j$(JOBS) fuzzers

coverage:        ## lines of each reader of files that the tests run (clang)
	tools/coverage.sh

cuda:            ## build/cuda/intarsia, with the GPU rooms
	cmake --preset cuda && cmake --build --preset cuda --target intarsia -- -j$(JOBS)

cuda-full:       ## every instantiation of every Hopper kernel and its driver
	cmake --preset cuda -DINTARSIA_CUDA_FULL=ON
	cmake --build --preset cuda -- -j$(JOBS)

test-gpu:        ## on a machine with an H100: verify and generate with CUDA
	tools/test_gpu.sh

# Needs the Python libraries tokenizers and sentencepiece.
test-published-vocabularies:  ## FILES="tokenizer.json ..." beside their library
	cmake --preset dev >/dev/null
	cmake --build --preset dev --target encode_strings -- -j$(JOBS)
	python3 tests/tokenizers/published_vocabularies.py \
	  build/dev/tests/encode_strings $(FILES)

# Needs the Python libraries transformers and jinja2; gguf for .gguf files.
test-published-templates:  ## FILES="x.jinja tokenizer_config.json ..." beside jinja2
	cmake --preset dev >/dev/null
	cmake --build --preset dev --target render_templates -- -j$(JOBS)
	python3 tests/chat_templates/published_templates.py \
	  build/dev/tests/render_templates $(FILES)

lint:            ## format, arrows between folders, file lengths
	tools/lint.sh

format:          ## clang-format in place
	git ls-files '*.cc' '*.h' '*.cu' '*.cuh' | xargs clang-format-14 -i

clean:           ## remove build/
	rm -rf build
