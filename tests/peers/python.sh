# Python with PyTorch and transformers, kept in the user's cache; sourced. Installs what is not there.
#   peers_python          sets $python
#   peers_losses_python   sets $losses_python: the same, with TRL and Liger-Kernel beside them
#   peers_tensorboard_python    sets $tensorboard_python: TensorBoard, without PyTorch
#   peers_metrics_python  sets $metrics_python: the same, with scikit-learn and netcal beside them
peers_home="${XDG_CACHE_HOME:-$HOME/.cache}/temper/peers-torch2.11.0-transformers5.23.0"

peers_python() {
  python="$peers_home/bin/python"
  export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 CUDA_VISIBLE_DEVICES=
  if [ -f "$peers_home/complete" ]; then return; fi
  echo "[peers] installing PyTorch and transformers into $peers_home" >&2
  rm -rf "$peers_home"
  python3 -m venv "$peers_home"
  "$python" -m pip install --quiet torch==2.11.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6
  touch "$peers_home/complete"
}

# peers_beside NAME PACKAGE...: sets $beside to a Python with these packages, which takes PyTorch from $python.
peers_beside() {
  peers_python
  local home="$peers_home-$1" site='import sysconfig; print(sysconfig.get_path("purelib"))'
  shift
  beside="$home/bin/python"
  if [ -f "$home/complete" ]; then return; fi
  echo "[peers] installing $* into $home" >&2
  rm -rf "$home"
  "$python" -m venv "$home"
  "$python" -c "$site" >"$("$beside" -c "$site")/peers.pth"  # not installed twice
  "$beside" -m pip install --quiet "$@"
  touch "$home/complete"
}

peers_losses_python() {
  peers_beside trl1.16.0-liger0.8.5 trl==1.16.0 liger-kernel==0.8.5
  losses_python="$beside"
}

peers_metrics_python() {
  peers_beside sklearn1.9.1-netcal1.4.0 scikit-learn==1.9.1 netcal==1.4.0
  metrics_python="$beside"
}

peers_tensorboard_python() {
  local home="${XDG_CACHE_HOME:-$HOME/.cache}/temper/peers-tensorboard2.21.0"
  tensorboard_python="$home/bin/python"
  if [ -f "$home/complete" ]; then return; fi
  echo "[peers] installing TensorBoard into $home" >&2
  rm -rf "$home"
  python3 -m venv "$home"
  "$tensorboard_python" -m pip install --quiet tensorboard==2.21.0
  touch "$home/complete"
}
