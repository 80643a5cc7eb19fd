PYTHON ?= python3
BIN := .venv/bin
OPTIONS = $(if $(DATASET),--dataset "$(DATASET)") $(if $(MODELS),--models "$(MODELS)") $(if $(RUN),--run "$(RUN)") \
	$(if $(STEPS),--steps "$(STEPS)") $(if $(GUIDANCE),--guidance $(GUIDANCE)) $(if $(SAFETY),--safety "$(SAFETY)") \
	$(foreach arm,$(EXTERNAL),--external "$(arm)")
SWEEP = $(if $(FRACTION),--fraction $(FRACTION)) $(if $(GROUNDING),--grounding $(GROUNDING)) $(if $(TEMPLATE),--template \
	$(TEMPLATE)) $(if $(SEED),--seed $(SEED)) $(if $(GRID),--grid "$(GRID)") $(if $(WORKERS),--workers "$(WORKERS)") \
	$(if $(CLUSTER),--cluster "$(CLUSTER)") $(if $(BATCH_SIZE),--batch-size "$(BATCH_SIZE)")

.PHONY: report sweep dry-run status lab test check bench demo-models demo-quality clean

report: $(BIN)/ready  ## the whole study, from photos to runs/<name>/report.html
	$(BIN)/python -m helpers report $(OPTIONS)

sweep: $(BIN)/ready  ## more guidance_scales in the same run: make sweep GUIDANCE="1 3 5 7.5 9 11 12"
	$(BIN)/python -m helpers sweep $(OPTIONS) $(SWEEP)

dry-run status: $(BIN)/ready  ## what `make sweep` would do with the same variables; what sweeps have done
	$(BIN)/python -m helpers sweep --$@ $(OPTIONS) $(SWEEP)

lab: $(BIN)/ready  ## the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

test: check  ## everything, as continuous integration runs it
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4

check: $(BIN)/ready  ## lint, formatting, stripped notebooks
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

bench: $(BIN)/ready  ## speed against the other ways to do the same
	for bench in tests/benchmarks/bench_*.py; do $(BIN)/python -m tests.benchmarks.$$(basename $$bench .py) || exit 1; done

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
