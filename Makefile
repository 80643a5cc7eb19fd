PYTHON ?= python3
BIN := .venv/bin
VARIABLES := DATASET SPLIT LIMIT SAMPLE_SEED LABELS SKIP_BAD MODELS SAFETY RUN STEPS SCHEDULER FIT BEAMS CROPS \
	DETECTOR DETECTOR_LABELS GUIDANCE EXTERNAL FRACTION GUIDANCE_SHARE GROUNDING KNOB EDITS TEMPLATE SEED GRID WORKERS \
	CLUSTER BATCH_SIZE SCENES YES LAYOUT ARM ALL IOU CROP_ACCURACY TO FORMAT VAL TEST CHECKPOINT LANGUAGE SIZE \
	UPSAMPLED ATTRIBUTE PHOTOS
LANGUAGE =  # not the one of the same name that systems set: only what is given to make
# Those of VARIABLES that are set, and whatever was named on the command line: a misspelt one is an error there
GIVEN = $(foreach name,$(VARIABLES),$(if $($(name)),$(name))) $(filter-out PYTHON $(VARIABLES),$(foreach \
	name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name))))
OPTIONS = $(foreach name,$(GIVEN),$(name)='$(subst ','\'',$($(name)))')

.PHONY: help report sweep dry-run status tune edit tokens methods dataset prompts fetch doctor check-data study-detector lab test check bench rehearsal demo-models demo-quality clean

help:  ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /make \1: /p' Makefile

report:  ## the whole study, from photos to runs/<name>/report.html
sweep:  ## more arms in the same run: make sweep GUIDANCE="1 3 5 7.5 9 11 12"
dry-run:  ## what `make sweep` would make with the same variables, and how long it takes
status:  ## what a run has: notebooks, arms, scores, and what failed and why
tune:  ## the cheapest scheduler, steps and guidance that are not worse than the run's
edit:  ## photos with one thing changed, by every editor: make edit EDITS=night
tokens:  ## prompts whose pictures show an attribute's categories evenly: make tokens ATTRIBUTE=place
methods:  ## the same scenes by every other method
dataset:  ## a training set: make dataset RUN=runs/demo TO=my_set FORMAT=coco (yolo, voc)
prompts:  ## layout prompts as files, for generators elsewhere: make prompts FORMAT=flux3 TO=my_prompts
fetch:  ## download the published models; goes on where it was stopped
doctor:  ## what this machine can run, and which weights are there
report sweep dry-run status tune edit tokens methods dataset prompts fetch doctor: $(BIN)/ready
	$(BIN)/python -m helpers $@ $(OPTIONS)

check-data: $(BIN)/ready  ## read a data set: what was recognised, what was put in order, what is wrong
	$(BIN)/python -m helpers check $(OPTIONS)

study-detector: $(BIN)/ready  ## whether the pictures help a detector; TEST=photos that no arm saw
	$(if $(TEST),,$(BIN)/python -m data.training.photos --to runs/test-photos --split validation --count 256)
	$(BIN)/python -m helpers study-detector $(OPTIONS)

lab: $(BIN)/ready  ## the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

test: check  ## everything, as continuous integration runs it
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4

check: $(BIN)/ready  ## lint, formatting, stripped notebooks
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

bench: $(BIN)/ready  ## speed against the other ways to do the same
	for bench in tests/benchmarks/bench_*.py; do $(BIN)/python -m tests.benchmarks.$$(basename $$bench .py) || exit 1; done

rehearsal: $(BIN)/ready  ## the published models' study on stand-ins of full size: 46 GB, hours without a GPU
	$(BIN)/python -m tests.benchmarks.rehearsal $(if $(YES),--yes)

demo-models: $(BIN)/ready  ## train data/models again; resumes
	$(BIN)/python -m data.training.train

demo-quality: $(BIN)/ready  ## measure data/models on scenes that no training saw
	$(BIN)/python -m data.training.measure

clean:  ## the environment and the caches; runs stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info

$(BIN)/ready: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv; test -x $(BIN)/uv || $(BIN)/python -m pip install -q uv
	$(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . && touch $@
