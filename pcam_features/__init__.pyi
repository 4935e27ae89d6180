from .api.blending import Blend as Blend
from .api.blending import blend as blend
from .api.comparing import Comparison as Comparison
from .api.comparing import compare as compare
from .api.copying import copy as copy
from .api.data import extract as extract
from .api.data import open_source as open_source
from .api.data import open_store as open_store
from .api.explaining import Explanation as Explanation
from .api.features import embeddings as embeddings
from .api.features import features as features
from .api.fetching import fetch_dataset as fetch_dataset
from .api.fitting import fit as fit
from .api.model import Model as Model
from .api.model import open_model as open_model
from .api.networks import ReferenceNetwork as ReferenceNetwork
from .api.networks import fit_network as fit_network
from .api.networks import open_network as open_network
from .api.preparing import SourceCheck as SourceCheck
from .api.preparing import check_source as check_source
from .api.preparing import convert_source as convert_source
from .api.running import RunResult as RunResult
from .api.running import run as run
from .api.slides import SlideMap as SlideMap
from .api.slides import cut_slides as cut_slides
from .api.slides import map_slide as map_slide
from .api.slides import score_maps as score_maps
from .encoders.options import EncoderOptions as EncoderOptions
from .errors import InputError as InputError
from .errors import PcamError as PcamError
from .slides.patches import CutPatches as CutPatches
from .sources.source import Source as Source
from .store.store import Store as Store

__version__: str
__all__: list[str]
