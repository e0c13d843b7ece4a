PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= test,lint,notebooks
DATA ?=
OUT ?= build/demo
ARGS ?=
BIN := $(VENV)/bin
NAME := $(notdir $(OUT))
comma := ,
INSTALLED = $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: demo test lint notebooks bench install clean

install: $(INSTALLED)

$(INSTALLED): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	touch $@

test: install  ## all tests; PYTEST_ARGS goes to pytest
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# With DATA=DIR the main job runs on a Shop-The-Look folder with the package's own defaults; without, on drawn data with
# small pictures and random weights, which need no download. ARGS="--set …" goes to `train` and wins.
DRAWN_ARGS := --set model.weights=none --set data.image_size=64 --set training.epochs=12
SOURCE := $(if $(DATA),$(DATA),$(OUT)/data)

CATEGORY ?= Shoes

demo:
	@$(MAKE) --no-print-directory install EXTRAS=pictures
	rm -rf $(OUT)
	mkdir -p $(OUT)
	$(if $(DATA),,$(BIN)/ctl-keras synthesize $(OUT)/data)
	$(BIN)/ctl-keras prepare --annotations $(SOURCE)/fashion.json --categories $(SOURCE)/fashion-cat.json \
		--images $(SOURCE)/images --out $(OUT)/records
	$(BIN)/ctl-keras train --data $(OUT)/records --out $(OUT)/run $(if $(DATA),,$(DRAWN_ARGS)) $(ARGS)
	$(BIN)/ctl-keras evaluate --run $(OUT)/run --data $(OUT)/records --json $(OUT)/evaluation.json --report $(OUT)/report
	$(BIN)/ctl-keras export --run $(OUT)/run --to $(OUT)/saved_models/$(NAME)
	scene=$$(ls $(SOURCE)/images/$$(sed -n '1s/.*"scene": *"\([^"]*\)".*/\1/p' $(SOURCE)/fashion.json).*) && \
	$(BIN)/ctl-keras score --model $(OUT)/saved_models/$(NAME) --scene $$scene --category $(CATEGORY) \
		$$(grep '$(CATEGORY)$$' $(OUT)/records/products.csv | head -3 | cut -d, -f2 | sed 's/^/--product /') && \
	$(BIN)/ctl-keras recommend --model $(OUT)/saved_models/$(NAME) --catalog $(OUT)/records/products.csv \
		--scene $$scene --category $(CATEGORY) -k 5
	@echo
	@echo "Made in $(OUT):"
	@echo "  records/           $(if $(DATA),,the drawn pictures of data/, )cropped, checked and split"
	@echo "  run/               settings, history, checkpoints, the trained model"
	@echo "  evaluation.json    accuracy, hit@k and MRR with intervals, beside the baselines"
	@echo "  report/            loss_curve.png  ranked_products.png  attention.png"
	@echo "  saved_models/$(NAME)/   for TensorFlow Serving"

notebooks: install
	$(BIN)/jupyter execute --timeout=900 notebooks/*.ipynb

bench: install
	@for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf build $(VENV)
