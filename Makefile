PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= test,lint,notebooks,beam,milvus,web,docs,browser
DATA ?=
OUT ?= build/demo
ARGS ?=
BIN := $(VENV)/bin
NAME := $(notdir $(OUT))
comma := ,
INSTALLED = $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

# glibc gives each large tensor back to the system when it is freed; getting it again, page by page, took a sixth of a ResNet50's
# time on a virtual machine (docs/results.md)
export MALLOC_MMAP_THRESHOLD_ := 8589934592
export MALLOC_TRIM_THRESHOLD_ := 17179869184

.PHONY: demo test lint notebooks docs web bench install clean

install: $(INSTALLED)

$(INSTALLED): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	touch $@

test: install  ## all tests; PYTEST_ARGS goes to pytest
	$(BIN)/python -m pytest -n 3 --dist worksteal $(PYTEST_ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/check_docstrings.py

# With DATA=DIR the main job runs on a Shop-The-Look folder with the package's own defaults; without, on drawn data with
# small pictures and random weights, which need no download; its frozen backbone sees each picture once. ARGS="--set …" goes to `train` and wins.
DRAWN_ARGS := --set model.weights=none --set data.image_size=64 --set training.epochs=10 --set training.learning_rate=0.0006 \
	--set data.feature_cache=$(OUT)/features
SOURCE := $(if $(DATA),$(DATA),$(OUT)/data)

define A_TEST_PAIR
import sys, ctl_keras
pairs = ctl_keras.read_records(sys.argv[1], "test")
print(pairs.images.ids[pairs.scene[0]], pairs.categories[pairs.category[0]], sep="\n")
endef
export A_TEST_PAIR

demo:
	@$(MAKE) --no-print-directory install EXTRAS=pictures
	@case "$(abspath $(DATA))/" in "$(abspath $(OUT))"/*) echo "DATA lies in OUT=$(OUT), which is made anew: name another OUT"; exit 2;; esac
	rm -rf $(addprefix $(OUT)/,data records features run saved_models catalog report evaluation.json)
	mkdir -p $(OUT)
	$(if $(DATA),,$(BIN)/ctl-keras synthesize $(OUT)/data)
	$(BIN)/ctl-keras prepare --annotations $(SOURCE)/fashion.json --categories $(SOURCE)/fashion-cat.json \
		--images $(SOURCE)/images --out $(OUT)/records
	$(BIN)/ctl-keras train --data $(OUT)/records --out $(OUT)/run $(if $(DATA),,$(DRAWN_ARGS)) $(ARGS)
	$(BIN)/ctl-keras evaluate --run $(OUT)/run --data $(OUT)/records --json $(OUT)/evaluation.json --report $(OUT)/report
	$(BIN)/ctl-keras export --run $(OUT)/run --to $(OUT)/saved_models/$(NAME)
	$(BIN)/ctl-keras catalog --model $(OUT)/saved_models/$(NAME) --products $(OUT)/records/products.csv --out $(OUT)/catalog
	@set -e; pair=$$($(BIN)/python -c "$$A_TEST_PAIR" $(OUT)/records 2> /dev/null); \
	scene=$$(find -L $(SOURCE)/images -name "$$(echo "$$pair" | sed -n 1p).*" | head -1); category=$$(echo "$$pair" | sed -n 2p); \
	products=$$(grep -F ",$$category" $(OUT)/records/products.csv | head -3 | cut -d, -f2 | sed 's/^/--product /'); set -x; \
	$(BIN)/ctl-keras score --model $(OUT)/saved_models/$(NAME) --scene $$scene --category "$$category" $$products; \
	$(BIN)/ctl-keras recommend --model $(OUT)/saved_models/$(NAME) --catalog $(OUT)/catalog \
		--scene $$scene --category "$$category" -k 5
	@echo
	@echo "Made in $(OUT):"
	@echo "  records/           $(if $(DATA),,the drawn pictures of data/, )cropped, checked and split"
	@echo "  run/               settings, history, checkpoints, the trained model"
	@echo "  evaluation.json    accuracy, hit@k and MRR with intervals, beside the baselines"
	@echo "  report/            report.html, and its pictures: loss_curve.png  ranked_products.png  attention.png  calibration.png"
	@echo "  catalog/           the products' embeddings, memory-mapped"
	@echo "  saved_models/$(NAME)/   for TensorFlow Serving"
	@echo "Open report/report.html, or see the page: make web$(if $(DATA), OUT=$(OUT))"

notebooks: install  ## two at a time, the longest first
	ls -S notebooks/*.ipynb | xargs -n 1 -P 2 $(BIN)/jupyter execute --timeout=900

docs: install  ## the site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

web:  ## the page, with what `make demo` made
	@$(MAKE) --no-print-directory install EXTRAS=web
	$(BIN)/ctl-keras web --model $(OUT)/saved_models/$(NAME) --catalog $(OUT)/catalog

bench: install
	@for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf build $(VENV)
