"""Each layout, on small files in the format that others write it in."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow as pa
import pydicom
import pytest
from PIL import Image
from pyarrow import parquet
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from instruct_data.examine import examine
from instruct_data.gather import gather, layout_of
from instruct_data.items import Item
from instruct_data.sources import reports
from instruct_data.sources.options import Options
from specialists.core import rle
from specialists.core.errors import BadData
from tests.drawn import data_folder, masks_folder


def picture(path: Path, size: tuple[int, int] = (40, 20), color: int = 90) -> Path:
    """Write a plain picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (color, 40, 40)).save(path)
    return path


def write(path: Path, said: object) -> Path:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(said))
    return path


def by_image(data: Path, **how: Any) -> dict[str, Item]:
    """Return the gathered items by image."""
    return {i.image: i for i in gather(data, **how).items}


def volume_folder(root: Path, oriented: bool = True, thick: float = 1.0) -> Path:
    """Write a volume with a bright liver to the patient's right, in front and near the head, and its labels."""
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    voxels = np.full((40, 48, 32), 20, np.int16)
    voxels[24:36, 28:44, 20:28] = 900  # in (left to right, back to front, feet to head)
    affine = np.diag([1.0, 1.0, thick, 1.0])
    for name, values in (("images", voxels), ("labels", (voxels > 500).astype(np.int16))):
        image = nib.Nifti1Image(values, affine if oriented else None)
        nib.save(image, root / name / "v1.nii.gz")  # type: ignore[attr-defined]
    write(root / "labels.json", {"liver": 1, "spleen": 2, "background": 0})
    return root


def dicom_slice(path: Path, number: int, series: str = "1.2.3", **values: str) -> Path:
    """Write a DICOM slice whose place along the body is `number`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{series}.{number}")
    image = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID, image.SeriesInstanceUID = CTImageStorage, f"{series}.{number}", series
    image.StudyDate, image.InstanceNumber = "19991231", 100 - number
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    image.Rows, image.Columns, image.BitsAllocated, image.BitsStored, image.HighBit = 24, 32, 16, 12, 11
    image.SamplesPerPixel, image.PixelRepresentation, image.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    image.PixelData = (np.arange(24 * 32, dtype=np.uint16) + number).tobytes()
    for name, value in values.items():
        setattr(image, name, value)
    pydicom.dcmwrite(path, image)
    return path


# --- masks


def test_masks_in_a_folder_a_structure(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.jpg")
    picture(tmp_path / "masks" / "optic_disc" / "a_mask.png")
    picture(tmp_path / "masks" / "optic_disc" / "z.png")
    library = gather(tmp_path)
    a, b = library.items
    assert a.sample.record["maps"] == [{"file": "masks/optic_disc/a_mask.png", "names": {"*": "optic disc"}}]
    assert a.marked == ("optic disc",)
    assert b.marked == (), "a picture without a mask is told nothing of"
    assert library.left_out == {"masks/optic_disc/z.png": "no picture of that name"}


def test_a_mask_belongs_to_the_picture_of_its_own_folder(tmp_path: Path) -> None:
    for patient in ("patient1", "patient2"):
        picture(tmp_path / "images" / patient / "001.png")
        picture(tmp_path / "masks" / "liver" / patient / "001.png")
    picture(tmp_path / "images" / "other" / "7.png")
    picture(tmp_path / "masks" / "liver" / "7_mask.png")
    library = gather(tmp_path)
    drawn = {item.image: [one["file"] for one in item.sample.record["maps"]] for item in library.items}
    assert drawn == {"images/patient1/001.png": ["masks/liver/patient1/001.png"],
                     "images/patient2/001.png": ["masks/liver/patient2/001.png"],
                     "images/other/7.png": ["masks/liver/7_mask.png"]}
    assert not library.left_out


def test_a_mask_that_could_be_of_two_pictures_is_left_out(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / "images" / split / "001.png")
    picture(tmp_path / "images" / "2.png")
    for name in ("001", "2", "2_mask"):
        picture(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "labels.json").write_text('{"*": "liver"}')
    library = gather(tmp_path)
    assert [item.image for item in library.items if item.marked] == ["images/2.png"]
    assert {file: why.split(":")[0] for file, why in library.left_out.items()} == {
        "masks/001.png": "pictures of that name in other folders",
        "masks/2_mask.png": "another mask of its picture counts"}


def test_folders_of_patients_are_no_structures(tmp_path: Path) -> None:
    for patient in ("patient1", "patient2"):
        picture(tmp_path / "images" / patient / "001.png")
        picture(tmp_path / "masks" / patient / "001.png")
    with pytest.raises(BadData, match=r"no labels\.json"):
        gather(tmp_path)
    (tmp_path / "labels.json").write_text('{"*": "liver"}')
    assert {item.marked for item in gather(tmp_path).items} == {("liver",)}


def test_masks_need_a_label_map_that_says_something(tmp_path: Path) -> None:
    data = masks_folder(tmp_path / "own", 1)
    assert layout_of(data) == "masks"
    assert gather(data).items[0].sample.license == "CC0"
    write(data / "labels.json", {"polyp": "red"})
    with pytest.raises(BadData, match="polyp"):
        gather(data)
    (data / "labels.json").unlink()
    with pytest.raises(BadData, match=r"labels\.json"):
        gather(data)


# --- a folder a class, a table


def test_a_folder_a_class(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "val/dog/2.png", "train/dog/3.tif"):
        picture(tmp_path / name)
    items = by_image(tmp_path, split="all")
    assert items["train/cat/1.png"].labels == ("cat", "dog")
    assert items["train/cat/1.png"].present == ("cat",)
    assert items["val/dog/2.png"].sample.split == "val"
    assert sum(name.startswith("made/") for name in items) == 1, "not every program shows a TIFF"


def test_a_table_of_images_and_findings(tmp_path: Path) -> None:
    picture(tmp_path / "i" / "a.png")
    (tmp_path / "t.csv").write_text("image,finding,patient\ni/a.png,Effusion|Mass,p1\ni/c.png,,p3\n"
                                    f"{tmp_path.parent}/b.png,Mass,p2\n")
    library = gather(tmp_path / "t.csv", options=Options(kind="chest X-ray"))
    (item,) = library.items
    assert (item.present, item.several, item.kind) == (("Effusion", "Mass"), True, "chest X-ray")
    assert item.image == "i/a.png"
    assert item.sample.group == "t/p1"
    assert len(library.left_out) == 2
    assert "outside" in " ".join(library.left_out.values())


# --- COCO


def coco(root: Path, annotations: list[dict[str, Any]]) -> Path:
    """Write COCO's layout with one image of 40 x 20 pixels."""
    picture(root / "images" / "a.jpg")
    write(root / "annotations" / "instances_val.json", {
        "images": [{"id": 5, "file_name": "a.jpg", "width": 40, "height": 20, "license": 1},
                   {"id": 6, "file_name": "gone.jpg", "width": 40, "height": 20}],
        "licenses": [{"id": 1, "name": "CC BY 4.0"}],
        "categories": [{"id": 1, "name": "polyp"}, {"id": 2, "name": "tool"}],
        "annotations": [{"id": i, "image_id": 5, **a} for i, a in enumerate(annotations)]})
    return root


def test_coco_polygons_run_lengths_and_boxes(tmp_path: Path) -> None:
    mask = np.zeros((20, 40), bool)
    mask[2:7, 30:36] = True
    plain = {"size": [20, 40], "counts": [30 * 20 + 2, *([5, 15] * 5), 5, 93]}
    library = gather(coco(tmp_path, [
        {"category_id": 1, "bbox": [4, 2, 10, 8], "segmentation": [[4, 2, 14, 2, 14, 10, 4, 10]]},
        {"category_id": 1, "segmentation": rle.encode(mask)}, {"category_id": 1, "segmentation": plain},
        {"category_id": 1, "bbox": [30, 10, 20, 4], "area": 80}, {"category_id": 1, "bbox": [1, 1, 0, 0]},
        {"category_id": 9, "bbox": [1, 1, 5, 5]}]), split="val")
    (item,) = library.items
    shown = [(tuple(round(v, 3) for v in r.box), None if r.area is None else round(r.area, 4)) for r in item.regions]
    assert shown == [((0.1, 0.1, 0.35, 0.5), 0.1), ((0.75, 0.1, 0.9, 0.35), 0.0375), ((0.75, 0.1, 0.9, 0.35), 0.0375),
                     ((0.75, 0.5, 1.0, 0.7), None)]
    assert item.marked == ("tool",), "a box without a width leaves polyps in doubt"
    assert item.sample.license == "CC BY 4.0"
    assert library.left_out == {"gone.jpg": "the file is missing"}


def test_a_crowd_is_no_thing(tmp_path: Path) -> None:
    (item,) = gather(coco(tmp_path, [{"category_id": 2, "bbox": [1, 1, 9, 9], "iscrowd": 1}]), split="val").items
    assert item.regions == ()
    assert item.absent == ("polyp",)


def test_a_coco_file_without_its_keys_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "i.json", {"images": [{"id": 1}], "annotations": [], "categories": []})
    with pytest.raises(BadData, match=r"i\.json.*file_name"):
        gather(file)


# --- DICOM


def test_a_series_is_one_item_of_its_middle_slice(tmp_path: Path) -> None:
    for series, patient in (("1.2.3", "A"), ("1.2.4", "A"), ("1.2.5", "B")):
        for number in range(5):
            dicom_slice(tmp_path / series / f"{(number * 3) % 5}.dcm", number, series, PatientID=patient)
    assert layout_of(tmp_path) == "dicom"
    items = gather(tmp_path).items
    assert [pydicom.dcmread(i.sample.path).ImagePositionPatient[2] for i in items] == [2, 2, 2]
    assert [i.sample.patient for i in items] == ["patient-0001", "patient-0001", "patient-0002"]
    assert len({i.image for i in items}) == 3


def test_dicom_files_in_a_folder_a_class_keep_their_labels(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        dicom_slice(tmp_path / name / "1.dcm", number, f"1.2.{number}")
        dicom_slice(tmp_path / name / "2.dcm", number, f"1.3.{number}")
    assert layout_of(tmp_path) == "labelled"
    assert {i.present for i in gather(tmp_path).items} == {("cat",), ("dog",)}


# --- NIfTI


def test_the_decathlons_folder(tmp_path: Path) -> None:
    found = volume_folder(tmp_path / "plain")
    data = tmp_path / "Task01"
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (data / name).mkdir(parents=True)
    for channel in ("0000", "0001"):
        (data / "imagesTr" / f"v1_{channel}.nii.gz").write_bytes((found / "images" / "v1.nii.gz").read_bytes())
    (data / "labelsTr" / "v1.nii.gz").write_bytes((found / "labels" / "v1.nii.gz").read_bytes())
    (data / "imagesTs" / "v2.nii.gz").write_bytes((found / "images" / "v1.nii.gz").read_bytes())
    write(data / "dataset.json", {"labels": {"background": 0, "liver": 1, "organs": [1, 2]}, "licence": "CC BY-SA 4.0"})
    library = gather(data, split="all")
    first, second = library.items
    assert first.image == "imagesTr/v1_0000.nii.gz"
    assert first.marked == ("liver", "organs")
    assert (second.sample.split, second.marked) == ("test", ())
    assert first.sample.license == "CC BY-SA 4.0"
    shown = examine(first, library, None)[0]
    assert {r.name for r in shown.regions} == {"liver", "organs"}
    assert len(examine(second, library, None)) == 1, "without labels the fullest slice"


# --- reports


def test_reports_lose_sentences_with_blacked_out_words_and_need_to_be_asked_for(tmp_path: Path) -> None:
    rows = [("1", "normal", "Clear lungs. There are no XXXX.", "No disease."), ("2", "Cardiomegaly;Mass", "XXXX.", "")]
    with (tmp_path / "r.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("uid", "Problems", "findings", "impression"), *rows])
    (tmp_path / "p.csv").write_text("uid,filename,projection\n1,1a.png,Frontal\n1,1b.png,Lateral\n2,2.png,Frontal\n")
    picture(tmp_path / "images" / "1a.png")
    with pytest.raises(BadData, match="no derivatives"):
        gather(tmp_path)
    library = gather(tmp_path, restricted=True)
    (item,) = library.items
    assert item.report is not None
    assert (item.report.findings, item.report.impression) == ("Clear lungs.", "No disease.")
    assert item.attributes == {"view": "frontal"}
    assert library.left_out == {"1b.png": "the file is missing", "2.png": "no report"}
    assert [i.sample.id for i in reports.texts(tmp_path, Options(name="r"))] == ["r/1"]


# --- questions


def test_questions_of_vqa_rad(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "VQA_RAD Image Folder" / f"{name}.jpg")
    row = {"image_name": "a.jpg", "image_organ": "CHEST", "question": "Is it large?", "answer": "No",
           "answer_type": "CLOSED ", "question_type": "SIZE", "phrase_type": "freeform"}
    write(tmp_path / "VQA_RAD.json", [row, {**row, "question": "Why?", "answer": 3, "answer_type": "OPEN"},
                                      {**row, "answer": ""}, {**row, "image_name": "b.jpg"},
                                      {**row, "image_name": "b.jpg", "phrase_type": "test_para"}])
    items = by_image(tmp_path, split="all")
    a, b = (items[f"VQA_RAD Image Folder/{n}.jpg"] for n in "ab")
    assert [(q.question, q.answer, q.type, q.closed) for q in a.asked] == [
        ("Is it large?", "No", "SIZE", True), ("Why?", "3", "SIZE", False)]
    assert (a.kind, a.sample.split, b.sample.split) == ("chest X-ray", "train", "test")


def test_questions_of_slake(tmp_path: Path) -> None:
    picture(tmp_path / "imgs" / "x1" / "source.jpg")
    row = {"img_name": "x1/source.jpg", "question": "What organ?", "answer": "Liver", "q_lang": "en", "modality": "MRI",
           "location": "Abdomen", "content_type": "Organ", "answer_type": "OPEN"}
    write(tmp_path / "validate.json", [row, {**row, "q_lang": "zh"}])
    library = gather(tmp_path, split="val")
    (item,) = library.items
    assert (item.kind, len(item.asked)) == ("abdominal MRI", 1)
    assert list(library.left_out.values()) == ["not in English"]


def test_questions_of_pathvqa_in_lines_and_in_parquet(tmp_path: Path) -> None:
    lines, rows = tmp_path / "lines", tmp_path / "rows"
    file = picture(lines / "images" / "train" / "t1.jpg", (30, 30))
    (lines / "train_qa.jsonl").write_text(json.dumps({"image": "t1", "question": "What?", "answer": "bone"}) + "\n")
    assert list(by_image(lines)) == ["images/train/t1.jpg"]
    rows.mkdir()
    cells = [{"bytes": file.read_bytes(), "path": "x.jpg"}] * 2
    parquet.write_table(pa.table({"image": cells, "question": ["What?", "Why?"], "answer": ["bone", None]}),
                        rows / "train-00000.parquet")
    library = gather(rows)
    (item,) = library.items
    assert item.image.startswith("made/")
    assert examine(item, library, tmp_path / "made")[0].size == (30, 30)
    assert (tmp_path / item.image).is_file()


# --- MedMNIST


def medmnist(path: Path, labels: np.ndarray) -> Path:
    """Write a file of MedMNIST with images of 28 x 28."""
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 28, 28), dtype=np.uint8)
    np.savez(path, train_images=images, train_labels=labels, val_images=images[:1], val_labels=labels[:1])
    return path


def test_medmnist_rows_become_pictures(tmp_path: Path) -> None:
    file = medmnist(tmp_path / "breastmnist.npz", np.array([[0], [1], [1]], np.uint8))
    with pytest.raises(BadData, match="names"):
        gather(file)
    write(tmp_path / "info.json", {"labels": ["malignant", "normal"], "kind": "breast ultrasound"})
    library = gather(file)
    assert [i.present for i in library.items] == [("malignant",), ("normal",), ("normal",)]
    (seen,) = examine(library.items[1], library, tmp_path / "made")
    assert seen.kind == "breast ultrasound"
    with np.load(file) as held, Image.open(tmp_path / seen.image) as shown:
        assert (np.asarray(shown)[..., 0] == held["train_images"][1]).all()


def test_medmnist_with_several_findings_and_too_few_names(tmp_path: Path) -> None:
    file = medmnist(tmp_path / "c.npz", np.array([[0, 1, 1], [0, 0, 0]], np.uint8))
    first, second = gather(file, options=Options(labels=("a", "b", "c"))).items
    assert (first.present, first.several, second.present) == (("b", "c"), True, ())
    with pytest.raises(BadData, match="3 classes and 2 names"):
        gather(file, options=Options(labels=("a", "b")))


def test_pickled_arrays_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=np.array([{}], object), train_labels=np.array([0]))
    with pytest.raises(BadData, match="plain arrays"):
        gather(tmp_path, options=Options(labels=("a",)))


# --- conversations


def talk(image: object, *said: str) -> dict[str, Any]:
    """Return a row as LLaVA writes it."""
    turns = [{"from": "gpt" if i % 2 else "human", "value": text} for i, text in enumerate(said)]
    return {"id": "1", "image": image, "conversations": turns}


def test_conversations_of_llava(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg")
    write(tmp_path / "llava_train.json", [
        talk("a.jpg", "<image>\nWhat is it?", "A lung.", "Where is <box>[[1, 2, 3, 4]]</box>?", "Here.", "Sure?",
             "Yes."),
        talk("gone.jpg", "<image>\nWhat?", "That."), talk(["a.jpg", "a.jpg"], "Which?", "Both."),
        talk(None, "Hi", "Hi")])
    library = gather(tmp_path)
    (item,) = library.items
    assert [(a.question, a.answer) for a in item.asked] == [("What is it?", "A lung."), ("Sure?", "Yes.")]
    assert list(library.left_out.values()) == ["the image is missing", "several images", "no image"]


def test_conversations_of_internvl(tmp_path: Path) -> None:
    picture(tmp_path / "pics" / "a.jpg")
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks" / "x.jsonl").write_text(json.dumps(talk("a.jpg", "<image>\nWhat?", "That.")) + "\n")
    meta = write(tmp_path / "meta.json", {"mine": {"root": "pics", "annotation": "talks/x.jsonl", "repeat_time": 1}})
    assert list(by_image(meta)) == ["pics/a.jpg"]
    (tmp_path / "talks" / "x.jsonl").write_text("{\n")
    with pytest.raises(BadData, match="line 1"):
        gather(meta)


def test_images_are_not_looked_for_outside(tmp_path: Path) -> None:
    picture(tmp_path / "secret.png")
    write(tmp_path / "data" / "x.json", [talk("../secret.png", "What?", "That.")])
    with pytest.raises(BadData, match="missing"):
        gather(tmp_path / "data")


def test_each_layout_is_told_apart(tmp_path: Path) -> None:
    data = {"records": data_folder(tmp_path / "records"), "masks": masks_folder(tmp_path / "masks", 1),
            "coco": coco(tmp_path / "coco", []), "nifti": volume_folder(tmp_path / "nifti"),
            "dicom": dicom_slice(tmp_path / "dicom" / "1.dcm", 1).parent,
            "medmnist": medmnist(tmp_path / "x.npz", np.zeros((2, 1), np.uint8)),
            "labelled": picture(tmp_path / "labelled" / "cat" / "1.png").parent.parent}
    assert {name: layout_of(folder) for name, folder in data.items()} == {name: name for name in data}
