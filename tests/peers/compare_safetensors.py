"""safetensors files, damaged in many ways: what temper opens, the package `safetensors` must open, too.

compare_safetensors.py VERDICTS WORK [CORPUS...]

VERDICTS is the program safetensors_verdicts, WORK an empty folder, CORPUS a folder of further files (libFuzzer's). Exits with 1 where
temper is laxer than the package, or where either of them refuses everything or nothing.
"""
import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import safetensors

MUTANTS = 20_000
CORPUS_MOST = 5_000
random.seed(8)

DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
          "C64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}
NUMBERS = ["0", "-0", "-1", "1.0", "1e1", "1E400", "01", "2147483648", "9223372036854775807", "9223372036854775808", "18446744073709551615",
           "18446744073709551616", "null", "true", '"4"', "[]", "4294967296"]
PIECES = [b"\x00", b"\xef\xbb\xbf", b"\xff", b" ", b"\n", b"\t", b"\x0b", b"\xc2\xa0", b"//", b"/**/", b",", b":", b'"', b"\\", b"{", b"}", b"[", b"]",
          b"\\u0000", b"\\ud800", b"\\ud83d\\ude00", b"\\x41", b'"x":1', b'"__metadata__":{"a":"b"},', b'"__metadata__":null,',
          b'"e":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},', b"NaN", b"'"]


def file_of(header, data):
    return struct.pack("<Q", len(header)) + header + data


def tensors():
    """The header of some tensors, as a dictionary, and the bytes of their data."""
    header, end = {}, 0
    if random.random() < 0.4:
        header["__metadata__"] = {"format": "pt", "x": ""}
    for i in range(random.randrange(4)):
        dtype = random.choice(list(DTYPES))
        shape = [random.choice([0, 1, 2, 3, 5]) for _ in range(random.randrange(4))]
        size = DTYPES[dtype]
        for n in shape:
            size *= n
        header[f"t{i}" if random.random() < 0.9 else "\u00e9\n\u0000"] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    # A name that came twice leaves a gap, which must be refused.
    return header, end


def change_structure(header):
    """One thing of the dictionary becomes another."""
    if not header:
        return
    name = random.choice(list(header))
    entry = header[name]
    kind = random.randrange(9)
    if kind == 0:
        del header[name]
    elif kind == 1:
        header["again"] = entry
    elif kind == 2:
        header["__metadata__"] = random.choice([None, {}, {"a": "b"}, {"a": 1}, [], "x", {"a": None}, {"a": {"b": "c"}}])
    elif {"dtype", "shape", "data_offsets"} <= set(entry or ()):
        if kind == 3:
            entry["dtype"] = random.choice(list(DTYPES) + ["F4", "F6_E2M3", "f32", "", "F8_E4M3FNUZ"])
        elif kind == 4:
            entry["shape"] = entry["shape"] + [random.choice([0, 1, 2, 1 << 62, 1 << 63])]
        elif kind == 5:
            entry["data_offsets"] = entry["data_offsets"][:: random.choice([-1, 1])] + [0] * random.randrange(2)
        elif kind == 6:
            entry["data_offsets"] = [n + random.choice([-1, 0, 1, 8]) for n in entry["data_offsets"]]
        elif kind == 7:
            entry["more"] = random.choice([1, None, "x"])
        else:
            del entry[random.choice(list(entry))]


def change_text(text):
    """One place of the header's text becomes another."""
    at = random.randrange(len(text) + 1)
    kind = random.randrange(6)
    if kind == 0:
        return text[:at] + random.choice(PIECES) + text[at:]
    if kind == 1:
        return text + random.choice(PIECES) * random.choice([1, 1, 3]) + random.choice([b"", b"}", b" "])
    if kind == 2:
        return random.choice(PIECES) + text
    if kind == 3:
        return text[:at] + text[at + random.randrange(1, 9):]
    if kind == 4:
        end = at + random.randrange(1, 40)
        return text[:end] + text[at:]
    digits = [i for i, c in enumerate(text) if 48 <= c <= 57]
    if not digits:
        return text
    at = random.choice(digits)
    return text[:at] + random.choice(NUMBERS).encode() + text[at + 1:]


def mutant():
    header, end = tensors()
    data = bytes(end)
    how = random.random()
    if how < 0.45:
        for _ in range(random.randrange(1, 3)):
            change_structure(header)
    text = json.dumps(header, ensure_ascii=random.random() < 0.5, separators=random.choice([(",", ":"), (", ", ": ")])).encode()
    if 0.35 < how < 0.85:
        for _ in range(random.randrange(1, 3)):
            text = change_text(text)
    text += b" " * random.choice([0, 0, -len(text) % 8])
    whole = bytearray(file_of(text, data))
    if how > 0.85:
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(whole))
            kind = random.randrange(4)
            if kind == 0:
                whole[at] ^= 1 << random.randrange(8)
            elif kind == 1:
                whole[min(at, 7)] = random.randrange(256)
            elif kind == 2:
                del whole[max(at, 1):]
            else:
                whole += bytes(random.randrange(1, 9))
    return bytes(whole)


def package_opens(data):
    try:
        safetensors.deserialize(data)
        return None
    except safetensors.SafetensorError as error:
        return str(error)


def main():
    program, work = sys.argv[1], Path(sys.argv[2])
    files = [mutant() for _ in range(MUTANTS)]
    found = 0
    for folder in sys.argv[3:]:
        bare = folder.rstrip("/").endswith("_header")  # inputs there are headers of files with 64 bytes of data
        for path in sorted(Path(folder).iterdir())[:CORPUS_MOST]:
            content = path.read_bytes()
            # What the mutants of libFuzzer are to a header, they are again here.
            for each in (content, change_text(content) if bare else content[:8] + change_text(content[8:])):
                files.append(file_of(each, b"\1" * 64) if bare else each)
                found += 1
    for i, content in enumerate(files):
        (work / f"{i:06d}").write_bytes(content)
    lines = subprocess.run([program, str(work)], check=True, capture_output=True).stdout.decode("utf-8", "replace").split("\n")[:-1]
    verdicts = dict(line.split("\t", 1) for line in lines)
    assert len(verdicts) == len(files), f"{len(verdicts)} verdicts for {len(files)} files"
    both = stricter = neither = 0
    laxer = []
    for i, content in enumerate(files):
        reason = package_opens(content)
        if verdicts[f"{i:06d}"] == "opened":
            both += reason is None
            if reason is not None:
                laxer.append((content, reason))
        else:
            stricter += reason is None
            neither += reason is not None
    print(f"{len(files)} files ({found} of them from libFuzzer): both open {both}, both refuse {neither}, only the package opens {stricter}, "
          f"only temper opens {len(laxer)}")
    for content, reason in laxer[:10]:
        print(f"temper opens what the package refuses ({reason}): {content[:200]!r}")
    sys.exit(1 if laxer or both < len(files) // 20 or neither < len(files) // 20 else 0)


main()
