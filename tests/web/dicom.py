"""A small MR series as DICOM files, written by hand (explicit VR, little endian)."""

import struct

LONG = {"OB", "OW", "SQ", "UN", "UT"}
UID = "1.2.826.0.1.3680043.8.498."  # free for tests


def element(group, number, kind, value):
    if isinstance(value, str):
        value = value.encode()
        value += (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    elif isinstance(value, int):
        value = struct.pack("<H" if kind == "US" else "<I", value)
    head = struct.pack("<HH", group, number) + kind.encode()
    if kind in LONG:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def write_series(folder, voxels, *, spacing, thickness):
    """Axial slices, from below; `voxels` is (slice, row, column), uint16."""
    folder.mkdir(parents=True)
    count, rows, columns = voxels.shape
    for number in range(count):
        uid = f"{UID}9.{number + 1}"
        elements = [
            (0x08, 0x08, "CS", "ORIGINAL\\PRIMARY\\M\\ND"),
            (0x08, 0x16, "UI", "1.2.840.10008.5.1.4.1.1.4"),
            (0x08, 0x18, "UI", uid),
            (0x08, 0x20, "DA", "20240101"),
            (0x08, 0x30, "TM", "120000"),
            (0x08, 0x60, "CS", "MR"),
            (0x08, 0x70, "LO", "NONE"),
            (0x08, 0x103E, "LO", "axial"),
            (0x10, 0x10, "PN", "Phantom"),
            (0x18, 0x20, "CS", "SE"),
            (0x18, 0x23, "CS", "2D"),
            (0x18, 0x50, "DS", f"{thickness}"),
            (0x18, 0x80, "DS", "500"),
            (0x18, 0x81, "DS", "10"),
            (0x18, 0x88, "DS", f"{thickness}"),
            (0x18, 0x5100, "CS", "HFS"),
            (0x20, 0x0D, "UI", f"{UID}1"),
            (0x20, 0x0E, "UI", f"{UID}2"),
            (0x20, 0x11, "IS", "1"),
            (0x20, 0x13, "IS", f"{number + 1}"),
            (0x20, 0x32, "DS", f"-3\\-4\\{number * thickness}"),
            (0x20, 0x37, "DS", "1\\0\\0\\0\\1\\0"),
            (0x28, 0x02, "US", 1),
            (0x28, 0x04, "CS", "MONOCHROME2"),
            (0x28, 0x10, "US", rows),
            (0x28, 0x11, "US", columns),
            (0x28, 0x30, "DS", f"{spacing[0]}\\{spacing[1]}"),
            (0x28, 0x100, "US", 16),
            (0x28, 0x101, "US", 16),
            (0x28, 0x102, "US", 15),
            (0x28, 0x103, "US", 0),
            (0x7FE0, 0x10, "OW", voxels[number].astype("<u2").tobytes()),
        ]
        meta = b"".join(
            element(0x02, tag, kind, value)
            for tag, kind, value in (
                (0x01, "OB", b"\0\1"),
                (0x02, "UI", "1.2.840.10008.5.1.4.1.1.4"),
                (0x03, "UI", uid),
                (0x10, "UI", "1.2.840.10008.1.2.1"),
                (0x12, "UI", f"{UID}3"),
            )
        )
        start = bytes(128) + b"DICM" + element(0x02, 0x00, "UL", len(meta))
        body = b"".join(element(*one) for one in elements)
        (folder / f"{number + 1}.dcm").write_bytes(start + meta + body)
