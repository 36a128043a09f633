from .errors import StemError as StemError
from .evaluation.comparison import evaluate as evaluate
from .evaluation.differences import compare as compare
from .exporting.figure import plot as plot
from .exporting.kinds import export as export
from .exporting.options import ExportOptions as ExportOptions
from .geometry import Mpp as Mpp
from .geometry import Region as Region
from .geometry import Spots as Spots
from .model import load_model as load_model
from .model.bundle import Model as Model
from .prediction_job import predict_slide as predict_slide
from .results import Prediction as Prediction
from .settings import SamplingSettings as SamplingSettings
from .slide import Slide as Slide
from .slide import open_slide as open_slide
from .spatial.region_files import read_regions as read_regions
from .spatial.spot_choice import choose_spots as choose_spots
from .training.fit import train as train
from .training.options import TrainingOptions as TrainingOptions

__version__: str
